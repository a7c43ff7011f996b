import type { PieceLink } from '@w3filecoin/capabilities'
import { type Stored, update } from '@w3filecoin/runtime'
import { readContent } from '../content/read.ts'
import type { Dependencies } from '../dependencies.ts'
import { isConfirmed, type PieceRecord, renewClaim } from '../domain/piece.ts'
import { resources } from '../resources.ts'

const { batch, run } = resources.queues.submit

/** Maximum time to read one content. A batch is read one after the other, and one minute is left for everything else. */
const MAX_READ_MS = ((run.timeout - 60) * 1000) / batch

/** The piece that the content hashes to, or the problem, with the piece if it is known but not confirmed. */
export type Finding = { piece: PieceLink; problem?: undefined } | { piece?: PieceLink; problem: string }

/**
 * Reads the content of an offer and computes its piece. A piece other than the offered one is confirmed if the bytes hash to
 * the CID of the content, or if an earlier read found the same piece.
 */
export const findPiece = async (
  { stores, content, timing, now, log }: Pick<Dependencies, 'stores' | 'content' | 'timing' | 'now' | 'log'>,
  record: Stored<PieceRecord>,
): Promise<Finding> => {
  const claim = () => update(stores.piece, { id: record.id }, current => renewClaim(current, now(), timing))
  // Outside of `readContent`: a failing table must not count as unreadable content.
  await claim()
  const startedAt = now()
  const { ok: reading, error: problem } = await readContent(content, record.content, {
    maxReadMs: MAX_READ_MS,
    renewClaim: claim,
    renewalMs: timing.retryMs / 2,
    log,
  })
  if (problem !== undefined) return { problem }
  const { piece, isVerified } = reading
  const found = `${piece}`
  return isVerified || found === record.piece || isConfirmed(record, found, startedAt, timing)
    ? { piece }
    : { piece, problem: `${describeMismatch(record, piece)}; it is read once more to confirm this` }
}

export const describeMismatch = ({ content, piece }: PieceRecord, found: PieceLink): string =>
  `The content ${content} hashes to ${found}, not to ${piece}`
