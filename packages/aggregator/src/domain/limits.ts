import { capacityOf } from '@w3filecoin/piece'

/** Decides when the pieces of a group become an aggregate. */
export interface Limits {
  /** Padded bytes of an aggregate, a power of two. */
  paddedBytes: number
  /** Padded bytes of pieces that an aggregate must contain, unless it contains `maxPieces`: a deal must be worth its cost. */
  minPaddedBytes: number
  /** Number of pieces that an aggregate may contain. */
  maxPieces: number
  /** Milliseconds after which the oldest piece does not wait for more pieces. */
  maxWaitMs: number
}

/** Some pieces, e.g. those that would be in an aggregate. */
export interface Fill {
  pieces: number
  /** Padded bytes. */
  bytes: number
}

/** The pieces of a group that wait for an aggregate. A piece offered with several nonces counts once. */
export interface Backlog extends Fill {
  /** When the oldest piece was offered, in milliseconds since 1970. */
  oldestAt?: number | undefined
}

/** Whether the pieces fill an aggregate, so that it can be sealed without waiting. */
export const isFull = ({ pieces, bytes }: Fill, { paddedBytes, maxPieces }: Limits): boolean =>
  bytes >= capacityOf(paddedBytes) || pieces >= maxPieces

/**
 * Whether an aggregate of such pieces may be sealed. One with `maxPieces` may be: waiting adds nothing to it.
 *
 * @param chosen the pieces that would be in it
 */
export const isEnough = ({ pieces, bytes }: Fill, { minPaddedBytes, maxPieces }: Limits): boolean =>
  pieces > 0 && (bytes >= minPaddedBytes || pieces >= maxPieces)

/**
 * Whether a group must be sealed now: the chosen pieces are enough, and the group is full or its oldest piece has waited
 * `maxWaitMs`.
 *
 * @param chosen the pieces that would be in the aggregate
 */
export const isRipe = (backlog: Backlog, chosen: Fill, limits: Limits, now: number): boolean =>
  isEnough(chosen, limits) &&
  (isFull(backlog, limits) || (backlog.oldestAt !== undefined && now - backlog.oldestAt >= limits.maxWaitMs))
