import { createHash } from 'node:crypto'
import type { PieceLink, Result } from '@w3filecoin/capabilities'
import { pieceOf } from '@w3filecoin/piece'
import type { Log } from '@w3filecoin/runtime'
import { sha256Of } from './sha256.ts'
import type { ContentSource } from './source.ts'

/** The result of hashing the bytes that a source returned. */
interface Reading {
  piece: PieceLink
  /**
   * Whether the CID of the content confirms the bytes. If it cannot, the source may have returned anything, such as an error
   * page or a truncated body.
   */
  isVerified: boolean
}

interface ReadOptions {
  /** Bound on the whole read: a killed run could not report that the content took too long. */
  maxReadMs: number
  /** Renews the claim of this run on the content, so that the sweep sends no other run to it. */
  renewClaim: () => Promise<unknown>
  /** Interval between renewals, whether or not any bytes arrive. */
  renewalMs: number
  log: Log
}

/** Reads content and computes its piece. The error is a sentence without the cause, which may contain addresses and paths. */
export const readContent = async (
  source: ContentSource,
  content: string,
  { maxReadMs, renewClaim, renewalMs, log }: ReadOptions,
): Promise<Result<Reading, string>> => {
  const deadline = AbortSignal.timeout(maxReadMs)
  const expected = sha256Of(content)
  const sha256 = expected && createHash('sha256')
  let readBytes = 0
  async function* receive(stream: AsyncIterable<Uint8Array>) {
    for await (const chunk of stream) {
      deadline.throwIfAborted()
      sha256?.update(chunk)
      yield chunk
    }
  }
  const onProgress = (bytes: number) => {
    readBytes = bytes
  }
  const computePiece = async (): Promise<PieceLink | undefined> => {
    const stream = await source.open(content, deadline)
    return stream && (await pieceOf(receive(stream), { onProgress })).link
  }
  const fail = (reason: string, cause?: unknown) => {
    log('warn', 'content not read', { content, bytes: readBytes, cause })
    return { error: `The content ${content} cannot be read${reason}` }
  }
  const stopRenewing = keepRenewing(renewClaim, renewalMs, cause =>
    log('warn', 'claim not renewed', { content, cause }),
  )
  try {
    // Enforce the deadline here as well: a source that hangs may ignore the signal.
    const piece = await Promise.race([computePiece(), rejectOnAbort(deadline)])
    if (piece === undefined) return { error: `There is no content ${content}` }
    if (expected && sha256?.digest().equals(expected) === false)
      return fail(`: the ${readBytes} bytes received do not hash to it`)
    return { ok: { piece, isVerified: expected !== undefined } }
  } catch (cause) {
    return fail(
      deadline.aborted ? ` in ${maxReadMs / 60_000} minutes: ${readBytes} bytes arrived` : '',
      cause,
    )
  } finally {
    stopRenewing()
  }
}

/** Rejects with the reason of the signal when it aborts; never resolves. */
const rejectOnAbort = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))

/** Calls `renew` at every interval, until the returned function is called or `renew` fails. */
const keepRenewing = (
  renew: () => Promise<unknown>,
  intervalMs: number,
  onFailure: (cause: unknown) => void,
): (() => void) => {
  let isStopped = false
  const run = async () => {
    for (;;) {
      await rejectOnAbort(AbortSignal.timeout(intervalMs)).catch(() => {})
      if (isStopped) return
      await renew()
    }
  }
  run().catch(onFailure)
  return () => {
    isStopped = true
  }
}
