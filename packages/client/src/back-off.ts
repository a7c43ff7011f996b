import { platform } from '#platform'

/** Resolves after some time. Rejects with the reason of the signal as soon as it aborts. */
export const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    if (signal?.aborted) return void reject(signal.reason)
    const end = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', end)
      resolve()
    }, ms)
    signal?.addEventListener('abort', end, { once: true })
  })

/**
 * Returns the pause before another attempt: exponential from `firstMs` to `maxMs`, of which up to a quarter is random, so that
 * clients that failed together do not return together.
 *
 * @param attempt from 0
 */
export const pauseMs = (
  attempt: number,
  { firstMs, maxMs, factor = 2 }: { firstMs: number; maxMs: number; factor?: number },
): number => Math.min(maxMs, firstMs * factor ** attempt) * (1 - platform.random() / 4)

/**
 * Returns the least pause between two questions about many tasks: a quarter of the time since the first question, up to 5
 * minutes. Some of many tasks move all the time, and these alone would cause a question every second.
 */
export const spacingMs = (sinceFirstMs: number): number => Math.min(5 * 60_000, sinceFirstMs / 4)
