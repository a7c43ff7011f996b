import { parsePieceLink } from '@w3filecoin/capabilities'
import { contentSizeOf, decodePiece } from '@w3filecoin/piece'
import type { Stored } from '@w3filecoin/runtime'
import { type Reading, readContent } from '../content/read.ts'
import type { Dependencies } from '../dependencies.ts'
import { isConfirmed, type PieceRecord } from '../domain/piece.ts'
import { resources } from '../resources.ts'
import type { Claim } from './claim-content.ts'

const { run } = resources.queues.submit

/** Maximum time to read one content: one minute is left for everything else. Of a batch, one content takes so long. */
const MAX_READ_MS = (run.timeout - 60) * 1000

/**
 * Whether the content hashes to the offered piece. Without a verdict there is a problem, which may pass; `found` is what the
 * content hashed to, if it is not confirmed yet.
 */
export type Finding =
  | { verdict: 'match'; keep: Reading['keep'] }
  | { verdict: 'mismatch'; message: string }
  | { verdict?: undefined; problem: string; found?: string }

/**
 * Reads the content of an offer and compares it with the offered piece. A mismatch is confirmed if the bytes hash to the CID
 * of the content, or if an earlier read found the same. A message never names a hash of bytes that are not confirmed: they
 * may be anything that the source can reach. Returns `undefined` if there was no turn to read it to the end.
 */
export const findPiece = async (
  { content: source, timing, now, log }: Pick<Dependencies, 'content' | 'timing' | 'now' | 'log'>,
  record: Stored<PieceRecord>,
  claim: Claim,
): Promise<Finding | undefined> => {
  const { content, piece } = record
  const decoded = decodePiece(parsePieceLink(piece))
  if (decoded.error)
    return { verdict: 'mismatch', message: `No content hashes to ${piece}: ${decoded.error.message}` }
  const startedAt = now()
  const read = await readContent(source, content, {
    maxBytes: contentSizeOf(decoded.ok),
    maxReadMs: MAX_READ_MS,
    claim: claim.hold,
    renewalMs: timing.retryMs / 2,
    log,
  })
  if (read === undefined) return undefined
  const { ok: reading, error: problem } = read
  if (problem !== undefined) return { problem }
  const found = describeReading(reading)
  if (found === piece) return { verdict: 'match', keep: reading.keep }
  const mismatch =
    reading.piece === undefined
      ? `The content ${content} has more bytes than the piece ${piece} stands for`
      : reading.isVerified
        ? `The content ${content} hashes to ${reading.piece}, not to ${piece}`
        : `The content ${content} does not hash to ${piece}`
  if (reading.isVerified) return { verdict: 'mismatch', message: mismatch }
  return isConfirmed(record, found, startedAt, timing)
    ? { verdict: 'mismatch', message: `${mismatch}: two reads agree` }
    : { problem: `${mismatch}; it is read once more to confirm this`, found }
}

/** @see PieceRecord.trouble */
const describeReading = ({ piece }: Reading): string => (piece === undefined ? 'longer' : `${piece}`)
