import type { Result } from '@w3filecoin/capabilities'
import type { Arrival, Fetch } from '@w3filecoin/runtime'

/** A content that cannot be read now. The cause is in the message, without addresses of redirects. */
export interface ContentUnreadable {
  name: 'ContentUnreadable'
  message: string
}

/** A request counts as so many bytes more: many small contents take their time. */
const REQUEST_BYTES = 4096

const REDIRECTS = [301, 302, 303, 307, 308]
const MAX_REDIRECTS = 3

/**
 * Reads bytes of a content into a buffer, from an address that may redirect. A server that ignores the range sends all, of
 * which the other bytes are dropped.
 *
 * @param from the first byte
 * @param into is filled
 * @param options.fetch must not follow redirects. It decides which hosts may be called, because a storefront chooses them.
 * @param options.arrival counts what arrives
 */
export const readContent = async (
  url: string,
  from: number,
  into: Uint8Array,
  { fetch, signal, arrival }: { fetch: Fetch; signal: AbortSignal; arrival: Arrival },
): Promise<Result<object, ContentUnreadable>> => {
  const { origin } = new URL(url)
  const fail = (reason: string) => ({
    error: { name: 'ContentUnreadable' as const, message: `${origin} ${reason}` },
  })
  const range = `bytes=${from}-${from + into.byteLength - 1}`
  let location = url
  try {
    for (let redirects = 0; ; redirects++) {
      const response = await fetch(location, { headers: { range }, redirect: 'manual', signal })
      const { status, headers, body } = response
      const next = headers.get('location')
      if (REDIRECTS.includes(status) && next !== null && redirects < MAX_REDIRECTS) {
        await body?.cancel()
        location = new URL(next, location).href
        continue
      }
      if ((status !== 200 && status !== 206) || body === null) {
        await body?.cancel()
        return fail(`answers with status ${status}`)
      }
      const start = status === 200 ? 0 : startOf(headers.get('content-range'))
      if (start === undefined || start > from) {
        await body.cancel()
        return fail('answers with another range')
      }
      const missing = await fill(into, body, from - start, arrival)
      arrival.bytes += REQUEST_BYTES
      return missing === 0 ? { ok: {} } : fail(`sent ${missing} of ${into.byteLength} bytes too few`)
    }
  } catch (cause) {
    return fail(`cannot be read: ${(cause as Error).message}`)
  }
}

/** @example startOf('bytes 100-199/5000') // 100 */
const startOf = (contentRange: string | null): number | undefined => {
  const [, start] = /^bytes (\d{1,15})-/.exec(contentRange ?? '') ?? []
  return start === undefined ? undefined : Number(start)
}

/** Skips bytes of a stream and fills a buffer with the next ones. Returns the number of bytes that are missing. */
const fill = async (
  into: Uint8Array,
  body: ReadableStream<Uint8Array>,
  skip: number,
  arrival: Arrival,
): Promise<number> => {
  let toSkip = skip
  let at = 0
  // Leaving the loop closes the stream.
  for await (const chunk of body) {
    arrival.bytes += chunk.byteLength
    const bytes = chunk.subarray(Math.min(toSkip, chunk.byteLength))
    toSkip -= chunk.byteLength - bytes.byteLength
    const taken = bytes.subarray(0, into.byteLength - at)
    into.set(taken, at)
    at += taken.byteLength
    if (at === into.byteLength) break
  }
  return into.byteLength - at
}
