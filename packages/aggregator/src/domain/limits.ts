import { capacityOf } from '@w3filecoin/piece'

/** Decides when the pieces of a group become an aggregate. */
export interface Limits {
  /** Padded bytes of an aggregate, a power of two. */
  paddedBytes: number
  /** Padded bytes of pieces that an aggregate must contain, so that the dealer makes a deal for it. */
  minPaddedBytes: number
  /** Number of pieces that an aggregate may contain. */
  maxPieces: number
  /** Milliseconds after which the oldest piece does not wait for more pieces. */
  maxWaitMs: number
}

/** The pieces of a group that wait for an aggregate. A piece offered with several nonces counts once. */
export interface Backlog {
  pieces: number
  /** Padded bytes. */
  bytes: number
  /** When the oldest piece was offered, in milliseconds since 1970. */
  oldestAt?: number | undefined
}

/** Whether the pieces fill an aggregate, so that it can be sealed without waiting. */
export const isFull = ({ pieces, bytes }: Backlog, { paddedBytes, maxPieces }: Limits): boolean =>
  bytes >= capacityOf(paddedBytes) || pieces >= maxPieces

/**
 * Whether the dealer makes a deal for an aggregate of such pieces.
 *
 * @param chosenBytes padded bytes of the pieces
 */
export const isEnough = (chosenBytes: number, { minPaddedBytes }: Limits): boolean =>
  chosenBytes > 0 && chosenBytes >= minPaddedBytes

/**
 * Whether a group must be sealed now: the dealer accepts the chosen pieces, and the group is full or its oldest piece
 * has waited `maxWaitMs`.
 *
 * @param chosenBytes padded bytes of the pieces that would be in the aggregate
 */
export const isRipe = (backlog: Backlog, chosenBytes: number, limits: Limits, now: number): boolean =>
  isEnough(chosenBytes, limits) &&
  (isFull(backlog, limits) || (backlog.oldestAt !== undefined && now - backlog.oldestAt >= limits.maxWaitMs))
