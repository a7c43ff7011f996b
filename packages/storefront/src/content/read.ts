import type { PieceLink, Result } from '@w3filecoin/capabilities'
import { pieceOf } from '@w3filecoin/piece'
import { type Arrival, enforceSpeed, type Log, pause, TooSlow } from '@w3filecoin/runtime'
import { contentHash } from './content-hash.ts'
import type { ContentSource } from './source.ts'

/** The result of hashing the bytes that a source returned. */
export interface Reading {
  /** `undefined` if there are more bytes than the offered piece stands for. */
  piece: PieceLink | undefined
  /**
   * Whether the CID of the content confirms the bytes. If it cannot, the source may have returned anything, such as an error
   * page or a truncated body.
   */
  isVerified: boolean
  /** @see OpenContent.keep */
  keep?: (() => Promise<void>) | undefined
}

interface ReadOptions {
  /** Bytes that the offered piece stands for. Content with one byte more has another piece, so reading stops. */
  maxBytes: number
  /** Bound on the whole read: a killed run could not report that the content took too long. */
  maxReadMs: number
  /**
   * Claims the content for this run, or renews the claim, so that no other run reads it. Called first when the read has taken
   * {@link UNCLAIMED_MS}. If it returns false, no turn is free, and reading stops.
   */
  claim: () => Promise<boolean>
  /** Interval between renewals, whether or not any bytes arrive. */
  renewalMs: number
  log: Log
}

/**
 * Bytes that are read beyond the piece if the CID of the content can confirm them: most error pages are shorter, and
 * are recognized as such.
 */
const OVERRUN_BYTES = 2 ** 20

/** Time for which a run reads without a claim. Most contents are read by then, and claims cost writes. */
export const UNCLAIMED_MS = 5_000

/**
 * Reads content and computes its piece. Returns `undefined` if there was no turn for it. The error is a sentence without the cause, which may contain addresses and paths, and
 * without any property of the bytes, which may be those of anything that the source can reach.
 */
export const readContent = async (
  source: ContentSource,
  content: string,
  { maxBytes, maxReadMs, claim, renewalMs, log }: ReadOptions,
): Promise<Result<Reading, string> | undefined> => {
  const hash = contentHash(content)
  const lastByte = maxBytes + (hash ? OVERRUN_BYTES : 0)
  const stop = new AbortController()
  const arrival: Arrival = { bytes: 0, isDone: false }
  let keep: Reading['keep']
  async function* receive(stream: AsyncIterable<Uint8Array>) {
    for await (const chunk of stream) {
      stop.signal.throwIfAborted()
      arrival.bytes += chunk.byteLength
      // Leaving the loop closes the stream.
      if (arrival.bytes > lastByte) return
      hash?.update(chunk)
      if (arrival.bytes <= maxBytes) yield chunk
    }
  }
  const computePiece = async (): Promise<PieceLink | undefined> => {
    const stream = await source.open(content, stop.signal)
    keep = stream?.keep?.bind(stream)
    return stream && (await pieceOf(receive(stream))).link
  }
  const fail = (reason: string, cause?: unknown) => {
    log('warn', 'content not read', { content, bytes: arrival.bytes, cause })
    return { error: `The content ${content} cannot be read${reason}` }
  }
  const claiming = keepClaiming(claim, renewalMs, cause =>
    log('warn', 'claim not renewed', { content, cause }),
  )
  try {
    // A source that hangs may ignore the signal, so do not wait for it.
    const piece = await Promise.race([computePiece(), enforceSpeed(arrival, maxReadMs), claiming.noTurn])
    if (piece === NO_TURN) return undefined
    if (piece === undefined) return { error: `There is no content ${content}` }
    if (arrival.bytes > lastByte) return { ok: { piece: undefined, isVerified: false } }
    if (hash?.matches() === false) return fail(': the bytes received do not hash to it')
    return {
      ok: { piece: arrival.bytes > maxBytes ? undefined : piece, isVerified: hash !== undefined, keep },
    }
  } catch (cause) {
    return fail(cause instanceof TooSlow ? cause.message : '', cause)
  } finally {
    arrival.isDone = true
    stop.abort()
    claiming.stop()
  }
}

const NO_TURN = Symbol('no turn')

/** Claims, and renews the claim at every interval, until it is stopped, no turn is free, or `claim` fails. */
const keepClaiming = (
  claim: () => Promise<boolean>,
  intervalMs: number,
  onFailure: (cause: unknown) => void,
): { noTurn: Promise<typeof NO_TURN>; stop: () => void } => {
  const { promise: noTurn, resolve } = Promise.withResolvers<typeof NO_TURN>()
  let isStopped = false
  const run = async () => {
    for (let waitMs = UNCLAIMED_MS; ; waitMs = intervalMs) {
      await pause(waitMs)
      if (isStopped) return
      if (!(await claim())) return resolve(NO_TURN)
    }
  }
  run().catch(onFailure)
  return {
    noTurn,
    stop: () => {
      isStopped = true
    },
  }
}
