import { capacityOf } from '@w3filecoin/piece'

/** When the pieces of a group become an aggregate. Sizes are padded bytes. */
export interface Limits {
  /** Size of an aggregate, a power of two. */
  paddedBytes: number
  /** The least bytes of pieces that the dealer makes a deal for. */
  minPaddedBytes: number
  /** The most pieces in an aggregate. */
  maxPieces: number
  /** Milliseconds after which the oldest piece waits no more for others. */
  maxWaitMs: number
}

/** What is pending in a group, for the next aggregate: of a piece that was chosen already, no other. */
export interface Backlog {
  pieces: number
  bytes: number
  /** When the oldest was offered, in milliseconds since 1970. */
  oldestAt?: number | undefined
}

/** Whether there is enough for an aggregate, however long it waited. */
export const isFull = ({ pieces, bytes }: Backlog, { paddedBytes, maxPieces }: Limits): boolean =>
  bytes >= capacityOf(paddedBytes) || pieces >= maxPieces

/** Whether the dealer takes an aggregate of pieces that have so many padded bytes together. */
export const isEnough = (chosen: number, { minPaddedBytes }: Limits): boolean =>
  chosen > 0 && chosen >= minPaddedBytes

/**
 * Whether a group is sealed now: the dealer takes what was chosen, and the group is full, or its oldest piece waited
 * its time.
 *
 * @param chosen padded bytes of the pieces that would go into the aggregate
 */
export const isRipe = (backlog: Backlog, chosen: number, limits: Limits, now: number): boolean =>
  isEnough(chosen, limits) &&
  (isFull(backlog, limits) || (backlog.oldestAt !== undefined && now - backlog.oldestAt >= limits.maxWaitMs))
