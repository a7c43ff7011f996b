import { platform } from '#platform'
import { pauseMs, sleep } from './back-off.ts'
import { reasonOf, W3Error } from './error.ts'
import type { Fetch } from './platform.ts'
import { readStream } from './source.ts'

/** A request that failed and is repeated. */
export interface RetryEvent {
  /** The kind of the event. */
  type: 'retry'
  /** The number of the failed attempt, from 1. */
  attempt: number
  /** Pause before the next one, in milliseconds. */
  pauseMs: number
  /** Why the attempt failed, for people, e.g. `it answered 503`. */
  reason: string
}

export interface Answer {
  status: number
  headers: Headers
  body: Uint8Array<ArrayBuffer>
  url: string
}

export interface RequestOptions extends Omit<RequestInit, 'signal'> {
  fetch: Fetch
  signal?: AbortSignal | undefined
  onRetry?: ((event: RetryEvent) => void) | undefined
  /** Maximum time of one attempt, in milliseconds. 0: unlimited, e.g. for uploads. */
  timeoutMs?: number
  /** Maximum size of the body of the answer, in bytes. */
  maxBytes: number
}

const MAX_ATTEMPTS = 5
const PAUSES = { firstMs: 500, maxMs: 8_000 }
/** A service that asks for a longer pause is not waited for: the caller learns the time instead. */
const MAX_RETRY_AFTER_MS = 60_000
const TIMEOUT_MS = 30_000

/** Answers after which the same request may succeed: the service is busy or not ready. */
const RETRIED = new Set([408, 425, 429, 500, 502, 503, 504])

/**
 * Sends a request, and repeats it while the host is unreachable or busy. It waits between attempts as long as `Retry-After`
 * says. Every request of this client may be repeated: the services answer a repeated invocation with the same receipt.
 *
 * @throws W3Error `Unreachable` after the last attempt
 */
export const request = async (
  url: string,
  { fetch, signal, onRetry, timeoutMs = TIMEOUT_MS, maxBytes, ...init }: RequestOptions,
): Promise<Answer> => {
  for (let attempt = 1; ; attempt++) {
    let reason: string
    let cause: unknown
    let retryAfterMs: number | undefined
    try {
      const signals = [
        ...(signal ? [signal] : []),
        ...(timeoutMs > 0 ? [AbortSignal.timeout(timeoutMs)] : []),
      ]
      const response = await fetch(url, {
        ...init,
        ...(signals.length > 0 && { signal: AbortSignal.any(signals) }),
      })
      if (!RETRIED.has(response.status)) return await readAnswer(response, maxBytes)
      await response.body?.cancel()
      reason = `it answered ${response.status}`
      retryAfterMs = readRetryAfter(response.headers)
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof W3Error) throw error
      reason = reasonOf(error)
      cause = error
    }
    const pause = Math.max(pauseMs(attempt - 1, PAUSES), retryAfterMs ?? 0)
    if (attempt === MAX_ATTEMPTS || pause > MAX_RETRY_AFTER_MS)
      throw new W3Error('Unreachable', `${new URL(url).origin} cannot be reached: ${reason}`, {
        cause,
        retryAfterMs,
        ...(pause > MAX_RETRY_AFTER_MS && {
          hint: `Repeat the call after ${Math.ceil(pause / 1000)} seconds.`,
        }),
      })
    onRetry?.({ type: 'retry', attempt, pauseMs: pause, reason })
    await sleep(pause, signal)
  }
}

const readAnswer = async (response: Response, maxBytes: number): Promise<Answer> => {
  const chunks: Uint8Array<ArrayBuffer>[] = []
  let size = 0
  for await (const chunk of response.body ? readStream(response.body as ReadableStream<Uint8Array>) : []) {
    size += chunk.byteLength
    if (size > maxBytes)
      throw new W3Error('InvalidAnswer', `${response.url} answered more than ${maxBytes} bytes`)
    chunks.push(chunk as Uint8Array<ArrayBuffer>)
  }
  const body = new Uint8Array(await new Blob(chunks).arrayBuffer())
  return { status: response.status, headers: response.headers, body, url: response.url }
}

/** Returns the pause of a `Retry-After` header, which has seconds or a date, in milliseconds. */
const readRetryAfter = (headers: Headers): number | undefined => {
  const value = headers.get('retry-after')
  if (value === null) return undefined
  const ms = /^\d+$/.test(value.trim()) ? Number(value) * 1000 : Date.parse(value) - platform.now()
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined
}
