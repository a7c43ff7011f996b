import { capacityOf } from '@w3filecoin/piece'

/** When the pieces of a group become an aggregate. Sizes are padded bytes. */
export interface Limits {
  /** Size of an aggregate, a power of two. */
  size: number
  /** The least bytes of pieces that the dealer makes a deal for. */
  minimumFill: number
  /** The most pieces in an aggregate. */
  maxPieces: number
  /** Milliseconds after which the oldest piece waits no more for others. */
  longestWait: number
}

/** What is pending in a group. */
export interface Backlog {
  pieces: number
  bytes: number
  /** When the oldest was offered, in milliseconds since 1970. */
  oldest?: number | undefined
}

/** Whether there is enough for an aggregate, however long it waited. */
export const isFull = ({ pieces, bytes }: Backlog, { size, maxPieces }: Limits): boolean =>
  bytes >= capacityOf(size) || pieces >= maxPieces

/** Whether a group is sealed now: it is full, or its oldest piece waited its time and the dealer takes what there is. */
export const isRipe = (backlog: Backlog, limits: Limits, now: number): boolean =>
  isFull(backlog, limits) ||
  (backlog.pieces > 0 &&
    backlog.bytes >= limits.minimumFill &&
    backlog.oldest !== undefined &&
    now - backlog.oldest >= limits.longestWait)
