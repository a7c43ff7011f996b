import { BaseError, type HttpTransport, http, RpcRequestError } from 'viem'

/** Calls that share a request. */
export const BATCH = 50
/** The greatest size of an answer. 10,000 events of sectors, the most that a node returns by default, have about 10 MB. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024

export interface RpcOptions {
  fetch: (url: string, init?: RequestInit) => Promise<Response>
  /** Ends all requests. */
  signal: AbortSignal
}

/** Opens JSON-RPC at an address. Calls of one turn of the event loop share requests. No call is repeated. */
export const openTransport = (url: string, { fetch, signal }: RpcOptions): HttpTransport =>
  http(url, {
    batch: { batchSize: BATCH },
    retryCount: 0,
    timeout: 0,
    maxResponseBodySize: MAX_ANSWER_BYTES,
    fetchFn: (input, init) => fetch(`${input}`, { ...init, signal }),
  })

/**
 * Returns the text with which a node refused a call; `undefined` if it did not answer the call.
 *
 * @example 'deal 123 not found - deal may not have completed sealing before deal proposal start epoch, or …'
 */
export const refusalOf = (cause: unknown): string | undefined => {
  const refusal =
    cause instanceof BaseError ? cause.walk(error => error instanceof RpcRequestError) : undefined
  return refusal instanceof RpcRequestError ? refusal.details : undefined
}
