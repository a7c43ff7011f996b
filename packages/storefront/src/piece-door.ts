import { contentSizeOf, FIL_COMMITMENT_UNSEALED, parsePiece } from '@w3filecoin/piece'
import {
  answerLater,
  DOOR_RESPONSES,
  describeParameter,
  headersOf,
  type OpenApiPaths,
  readPermit,
  redirectToBytes,
} from '@w3filecoin/runtime'
import type { Context, Hono } from 'hono'
import { parse as parseLink } from 'multiformats/link'
import { bytesInCid } from './content/content-hash.ts'
import type { Dependencies } from './dependencies.ts'
import { isFetchable, isFinal } from './domain/piece.ts'
import { findByPiece, type PieceQuery } from './workflow/find-by-piece.ts'

/** @see Dependencies.pieceAccess */
export type PieceAccess = 'off' | 'permit' | 'open'

type DoorDependencies = Pick<
  Dependencies,
  'id' | 'authority' | 'dealer' | 'stores' | 'content' | 'pieceAccess' | 'now'
>

/** Workflows and aggregates of one piece that are looked at. */
const MAX_RECORDS = 100

const PIECE_PARAMETER = describeParameter('piece', 'Piece CID v2, or v1 if only one size of it was offered')
const describeDoor = (summary: string, parameters: (typeof PIECE_PARAMETER)[]) => {
  const operation = { summary, parameters, responses: DOOR_RESPONSES }
  return { get: operation, head: operation }
}

/** Returns the description of the routes of {@link addPieceDoor}. */
export const describePieceDoor = (pieceAccess: PieceAccess): OpenApiPaths =>
  pieceAccess === 'off'
    ? {}
    : {
        '/piece/{piece}': describeDoor(
          'The content of a piece, if the storefront serves pieces to everyone',
          [PIECE_PARAMETER],
        ),
        '/piece/{permit}/{piece}': describeDoor('The content of a piece, for a storage provider', [
          describeParameter('permit', 'A permit that the dealer signed, as in its offer document'),
          PIECE_PARAMETER,
        ]),
      }

/**
 * Adds the routes at which storage providers fetch pieces:
 *
 * - `GET /piece/{permit}/{piece}` redirects (302) to the content of a piece, for those with a permit of the dealer for an
 *   aggregate that has the piece
 * - `GET /piece/{piece}` does so for everybody, if the configuration says so
 *
 * `HEAD` is answered with the length that the piece CID states: the address behind a redirect may be signed for GET only. A
 * piece whose content is not checked yet is answered 429 with `Retry-After`, because storage providers take 404 and 503 as
 * final. A piece may be named by its CID v2, or by its CID v1 if only one size of it was offered.
 */
export const addPieceDoor = (api: Hono, dependencies: DoorDependencies): void => {
  const { pieceAccess } = dependencies
  if (pieceAccess === 'off') return
  api.get('/piece/:piece', async context =>
    pieceAccess === 'open'
      ? serve(dependencies, context)
      : context.text('Ask with the address in the offer document of the dealer: it has a permit', 403),
  )
  api.get('/piece/:permit/:piece', async context => {
    const { authority, dealer, id, now } = dependencies
    const text = context.req.param('permit')
    const permit = await readPermit(text, { authority, dealer, storefront: id.did(), now: now() })
    if (permit === undefined) return context.text(`The permit has expired, or ${dealer} did not sign it`, 403)
    return serve(dependencies, context, permit.aggregate)
  })
}

/** @param aggregate the aggregate that the piece must be in */
const serve = async (
  dependencies: DoorDependencies,
  context: Context<object, '/piece/:piece'>,
  aggregate?: string,
): Promise<Response> => {
  const { stores, content } = dependencies
  const text = context.req.param('piece')
  const query = readQuery(text)
  if (query === undefined) return context.text(`${text.slice(0, 200)} is not a piece CID`, 400)
  const { records } = await findByPiece(stores, query, MAX_RECORDS)
  const pieces = new Set(records.map(({ piece }) => piece))
  if (pieces.size > 1)
    return context.text(`Pieces of several sizes have the root ${text}. Ask for the piece CID v2`, 400)
  const [piece] = pieces
  if (piece === undefined) return context.text(`The piece ${text} was not offered here`, 404)
  const waitOr = (reason: string, status: 403 | 404) =>
    records.every(isFinal) ? context.text(reason, status) : answerLater(context, reason)
  // The storefront learns of an aggregate some time after the dealer.
  if (aggregate !== undefined && !(await isIn(stores, piece, aggregate)))
    return waitOr(`The piece ${piece} is not in ${aggregate}`, 403)
  const record = records.find(isFetchable)
  if (record === undefined) return waitOr(`The content of ${piece} cannot be fetched`, 404)

  const bytes = contentSizeOf(parsePiece(piece).ok!)
  const inCid = bytesInCid(record.content)
  return inCid === undefined
    ? redirectToBytes(context, bytes, () => content.locate(record.content))
    : context.body(inCid as Uint8Array<ArrayBuffer>, 200, headersOf(bytes))
}

const readQuery = (text: string): PieceQuery | undefined => {
  const { ok } = parsePiece(text)
  if (ok) return { piece: `${ok.link}` }
  try {
    const link = parseLink(text)
    return link.code === FIL_COMMITMENT_UNSEALED ? { root: `${link}` } : undefined
  } catch {
    return undefined
  }
}

/** Whether the storefront knows that the piece is or was in the aggregate. */
const isIn = async (
  { inclusion }: Dependencies['stores'],
  piece: string,
  aggregate: string,
): Promise<boolean> => {
  const { items } = await inclusion.list(piece, { limit: MAX_RECORDS })
  return items.some(item => item.aggregate === aggregate)
}
