/**
 * A deal of the built-in market that was reported to the tracker. A source reads it from then on. The row is only needed until a run
 * sees the deal on chain, because the snapshot has it then.
 *
 * @example { source: 'market', deal: '81234567', expiresAt: 1735898400 }
 */
export interface WatchRecord {
  /** Name of the source that reads the deal. */
  source: string
  /** Id of the deal: the key of its place. */
  deal: string
  /** Time in seconds since 1970, from which on the source does not search the deal any more. */
  expiresAt: number
}

/** The deals that a source must search. */
export interface Watched {
  dealIDs: readonly number[]
  /** 1 if there are more than {@link MAX_WATCHED}, of which these are a part; else 0. */
  refused: number
}

/** No deals: for sources without reports. */
export const NOTHING_WATCHED: Watched = { dealIDs: [], refused: 0 }

/** The greatest number of deals that a source searches at a time. */
export const MAX_WATCHED = 5_000

/** Time for which a source searches a deal. An id exists from the epoch of its publication on, which is final within hours. */
const WATCH_SECONDS = 14 * 24 * 60 * 60

/** Builds the row of a deal that is reported now. */
export const toWatchRecord = (source: string, dealID: number, now: number): WatchRecord => ({
  source,
  deal: `${dealID}`,
  expiresAt: Math.ceil(now / 1000) + WATCH_SECONDS,
})

/** Whether a source still searches the deal. The store removes rows late. */
export const isWatched = ({ expiresAt }: WatchRecord, now: number): boolean => expiresAt * 1000 > now
