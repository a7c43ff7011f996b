import { type Failure, failure } from '@w3filecoin/capabilities'
import { timeOf } from './epoch.ts'
import type { Report } from './report.ts'
import { isMissing, type Snapshot } from './snapshot.ts'

/** What is believed of a source. */
export interface Limits {
  /** Milliseconds after which what it looked at is too old. */
  maxAgeMs: number
  /** The most of its deals that it may lose from one good run to the next, as a share. */
  maxLossShare: number
}

/** How far a source's clock may be ahead of ours. */
const MAX_AHEAD_MS = 60 * 60 * 1000

/** Why a report is not to be believed, if it is not. */
export const checkReport = (
  previous: Snapshot,
  next: Report,
  { maxAgeMs, maxLossShare }: Limits,
  now: number,
): Failure | undefined => {
  const { stateEpoch, malformed } = next
  const at = timeOf(stateEpoch)
  if (now - at > maxAgeMs)
    return failure('StaleSource', `It tells of epoch ${stateEpoch}, ${hours(now - at)} hours ago`)
  if (at - now > MAX_AHEAD_MS)
    return failure(
      'SourceAhead',
      `It tells of epoch ${stateEpoch}, which is ${hours(at - now)} hours from now`,
    )
  if (stateEpoch < previous.stateEpoch)
    return failure(
      'SourceWentBack',
      `It tells of epoch ${stateEpoch}; the last good run was of ${previous.stateEpoch}`,
    )
  if (next.deals.size === 0 && malformed > 0)
    return failure('UnreadableSource', `None of its ${malformed} records could be read`)
  const { live, lost } = lossOf(previous, next)
  if (lost > live * maxLossShare)
    return failure('SourceLostDeals', `It lost ${lost} of the ${live} deals that it had in its last good run`)
  return undefined
}

/** Of the deals that should still run, those that are not in the report, or can not be read there. */
const lossOf = (previous: Snapshot, next: Report): { live: number; lost: number } => {
  let live = 0
  let lost = 0
  for (const known of previous.deals.values()) {
    if (known.terminated || known.endEpoch <= next.stateEpoch) continue
    live += 1
    if (isMissing(known, next)) lost += 1
  }
  return { live, lost }
}

const hours = (time: number): number => Math.round(time / 3_600_000)
