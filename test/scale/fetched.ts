import { subscribe, unsubscribe } from 'node:diagnostics_channel'

/** Responses that `fetch` received completely. */
export interface Fetched {
  responses: number
  bytes: number
  /** Start of the first response, and end of the last one, in milliseconds since 1970. 0 if there is none. */
  firstAt: number
  lastAt: number
}

/** Events of `fetch`. Headers are names and values in turns. */
interface HeadersEvent {
  request: { path: string }
  response: { statusCode: number; headers: Buffer[] }
}

const HEADERS = 'undici:request:headers'
const END = 'undici:request:trailers'

/** Counts the content that `fetch` receives in this thread from paths that begin with a text, e.g. `/dealer-wholes/`. */
export const countFetched = (prefix: string): { total: Fetched; stop: () => void } => {
  const total: Fetched = { responses: 0, bytes: 0, firstAt: 0, lastAt: 0 }
  const lengths = new Map<unknown, number>()
  const onHeaders = (event: unknown): void => {
    const { request, response } = event as HeadersEvent
    if (!request.path.startsWith(prefix) || response.statusCode > 299) return
    total.firstAt ||= Date.now()
    const at = response.headers.findIndex(name => `${name}`.toLowerCase() === 'content-length')
    lengths.set(request, Number(`${response.headers[at + 1]}`))
  }
  const onEnd = (event: unknown): void => {
    const { request } = event as HeadersEvent
    const bytes = lengths.get(request)
    if (bytes === undefined) return
    lengths.delete(request)
    total.responses += 1
    total.bytes += bytes
    total.lastAt = Date.now()
  }
  subscribe(HEADERS, onHeaders)
  subscribe(END, onEnd)
  return {
    total,
    stop: () => {
      unsubscribe(HEADERS, onHeaders)
      unsubscribe(END, onEnd)
    },
  }
}
