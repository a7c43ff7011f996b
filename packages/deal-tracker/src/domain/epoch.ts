import { epochToMs } from '@w3filecoin/capabilities'

/** The last epoch that the tracker accepts, in the year 2971. It keeps all times within the range of dates. */
export const MAX_EPOCH = 1_000_000_000

/** How far the chain state of a report may lie ahead of our clock. The next epochs are not on chain yet. */
const MAX_AHEAD_MS = 60 * 60 * 1000

/**
 * Whether an epoch lies so far ahead of our clock that one of the two must be wrong. If the epoch is stored, the clock of
 * the run that accepted it was wrong.
 */
export const isAhead = (epoch: number, now: number): boolean => epochToMs(epoch) - now > MAX_AHEAD_MS
