/**
 * The lowest speed of a content, averaged over a window of 30 s. A source that is slower would keep a run from honest contents. The
 * first two windows are not measured: a gateway may have to find the content.
 */
const MIN_BYTES_PER_SECOND = 64 * 1024
const WINDOW_MS = 30_000
const UNMEASURED_WINDOWS = 2

/** A read that goes on. The reader counts the bytes that arrive, and says when it is done. */
export interface Arrival {
  bytes: number
  isDone: boolean
}

/** The message is the end of a sentence, e.g. `: less than 64 KiB a second arrived`. */
export class TooSlow extends Error {}

/**
 * Never resolves while a content is read, and rejects with {@link TooSlow} when that takes too long or is too slow.
 *
 * @param maxReadMs bound on the whole read, in milliseconds
 */
export const enforceSpeed = async (arrival: Readonly<Arrival>, maxReadMs: number): Promise<never> => {
  const windows = Math.ceil(maxReadMs / WINDOW_MS)
  for (let window = 0; window < windows && !arrival.isDone; window++) {
    const before = arrival.bytes
    await pause(WINDOW_MS)
    if (window >= UNMEASURED_WINDOWS && arrival.bytes - before < (MIN_BYTES_PER_SECOND * WINDOW_MS) / 1000)
      throw new TooSlow(`: less than ${MIN_BYTES_PER_SECOND / 1024} KiB a second arrived`)
  }
  throw new TooSlow(` in ${maxReadMs / 60_000} minutes`)
}

/** Resolves after this time. */
export const pause = (milliseconds: number): Promise<void> =>
  new Promise(resolve => AbortSignal.timeout(milliseconds).addEventListener('abort', () => resolve()))
