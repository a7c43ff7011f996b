import { createServer } from 'node:http'
import { contentSizeOf, parsePiece } from '@w3filecoin/piece'
import { listen } from '../listen.ts'

/**
 * Serves the pieces of storefronts, but zeros instead of some of them: as a storefront whose content was damaged.
 *
 * @param spoiled CIDs of the pieces with wrong bytes
 * @param storefronts URL of each storefront, by its role; read at each request
 * @returns the URL to which the role, a permit and a piece CID are appended
 */
export const serveSpoiledPieces = async (
  spoiled: readonly string[],
  storefronts: ReadonlyMap<string, string>,
): Promise<{ url: string; stop: () => Promise<void> }> => {
  const server = createServer((request, response) => {
    const [, role = '', permit, text = ''] = (request.url ?? '').split('/')
    const piece = parsePiece(text).ok
    if (piece && spoiled.includes(text)) response.writeHead(200).end(Buffer.alloc(contentSizeOf(piece)))
    else response.writeHead(302, { location: `${storefronts.get(role)}/piece/${permit}/${text}` }).end()
  })
  return {
    url: `http://127.0.0.1:${await listen(server, 0)}`,
    stop: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
