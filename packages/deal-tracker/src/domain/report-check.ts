import { epochToMs, type Failure, failure } from '@w3filecoin/capabilities'
import { hasEnded, identify } from './deal.ts'
import { isAhead } from './epoch.ts'
import type { Report } from './report.ts'
import { isMissing, type Snapshot } from './snapshot.ts'

/** The limits within which the tracker accepts a report. */
export interface Limits {
  /** The greatest age of the chain state in a report. */
  maxAgeMs: number
  /**
   * The greatest share of its live deals, from 0 to 1, that a source may lose from one accepted report to the next, unless it saw them
   * end.
   */
  maxLossShare: number
}

/**
 * Compares a report with the last accepted one. Returns the reason to refuse it, or `undefined` to accept it.
 *
 * If the last accepted report lies ahead of our clock, the clock was wrong when it was accepted. Then its epoch does not
 * count: otherwise every report would be refused until the clock reaches it.
 */
export const checkReport = (
  previous: Snapshot,
  next: Report,
  { maxAgeMs, maxLossShare }: Limits,
  now: number,
): Failure | undefined => {
  const { stateEpoch, malformed } = next
  const at = epochToMs(stateEpoch)
  if (now - at > maxAgeMs)
    return failure(
      'StaleSource',
      `Its chain state is ${toHours(now - at)} hours old (epoch ${stateEpoch}), and at most ${toHours(maxAgeMs)} are accepted`,
    )
  if (isAhead(stateEpoch, now))
    return failure(
      'SourceAhead',
      `Its chain state is ${toHours(at - now)} hours in the future (epoch ${stateEpoch})`,
    )
  if (stateEpoch < previous.stateEpoch && !isAhead(previous.stateEpoch, now))
    return failure(
      'SourceWentBack',
      `Its chain state is of epoch ${stateEpoch}, before epoch ${previous.stateEpoch} of the last accepted report`,
    )
  if (next.deals.size === 0 && malformed > 0)
    return failure('UnreadableSource', `None of its ${malformed} records could be parsed`)
  if (next.hasSeenEnds) return undefined
  const { live, lost } = countLosses(previous, next)
  if (lost > live * maxLossShare)
    return failure('SourceLostDeals', `It lost ${lost} of the ${live} live deals in the last accepted report`)
  return undefined
}

/**
 * Counts the deals that should still be live, and those of them that are missing or unreadable in the report. A provider
 * without a place is not lost if the report has a place of it for the piece now.
 */
const countLosses = (previous: Snapshot, next: Report): { live: number; lost: number } => {
  const found = new Set(
    [...next.deals.values()].map(({ piece, provider }) =>
      identify({ place: { type: 'provider', provider }, piece }),
    ),
  )
  let live = 0
  let lost = 0
  for (const known of previous.deals.values()) {
    if (known.terminated || hasEnded(known, next.stateEpoch)) continue
    live += 1
    if (isMissing(known, next) && !found.has(identify(known))) lost += 1
  }
  return { live, lost }
}

const toHours = (ms: number): number => Math.round(ms / 3_600_000)
