import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { DID } from '@ucanto/interface'

/** A host on this machine that publishes the DID document of its `did:web`. */
export interface WebHost {
  did: DID<'web'>
  /** The `did:key`s in the document. */
  keys: readonly string[]
  /** Number of requests so far. */
  asked: number
  /** Replaces the document. */
  answer: RequestListener | undefined
  stop(): Promise<void>
}

/** Starts a host with these `did:key`s. */
export const startWebHost = async (...keys: string[]): Promise<WebHost> => {
  const server = createServer((request, response) => {
    host.asked++
    if (host.answer) return host.answer(request, response)
    if (request.url !== '/.well-known/did.json') return response.writeHead(404).end()
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(documentOf(host.did, host.keys)))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const host: WebHost = {
    did: `did:web:127.0.0.1%3A${port}`,
    keys,
    asked: 0,
    answer: undefined,
    stop: async () => {
      server.closeAllConnections()
      if (server.listening) await once(server.close(), 'close')
    },
  }
  return host
}

/** Returns a DID document with these keys. */
export const documentOf = (did: string, keys: readonly string[]) => ({
  id: did,
  verificationMethod: keys.map((key, n) => ({
    id: `${did}#key-${n}`,
    type: 'Multikey',
    controller: did,
    publicKeyMultibase: key.slice('did:key:'.length),
  })),
})
