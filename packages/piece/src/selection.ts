import { capacityOf, indexEntries, MIN_PIECE_SIZE } from './limits.ts'
import { type AnyLink, faultOf, heightOf, type PieceLink, sizeOf } from './link.ts'

/** Whether an empty aggregate of `size` padded bytes has room for the piece. False if the link is not a piece link. */
export const canHold = (piece: AnyLink, size: number): boolean =>
  faultOf(piece) === undefined && sizeOf(heightOf(piece)) <= capacityOf(size)

/** Limits of the aggregate that pieces are selected for. */
export interface SelectionLimits {
  /** Padded bytes of the aggregate. */
  size: number
  /** Upper limit for the number of pieces. Default and maximum: the number of entries in the aggregate's index. */
  maxPieces?: number
}

/**
 * Selects the pieces of an aggregate. The caller offers candidates one by one, in order of priority; each is chosen
 * if it still fits. A candidate that is too large for the remaining space is passed over, and smaller ones after it
 * fill the space.
 *
 * The chosen pieces always fit: {@link layout} wastes no space between them, so it is enough that their padded sizes
 * add up to no more than the capacity.
 *
 * A candidate is any record with a piece link. The caller may page through a store and stop when `full`.
 */
export class Selection<Candidate extends { piece: PieceLink }> {
  /** The chosen candidates, in the order offered. */
  readonly chosen: Candidate[] = []
  /** Padded bytes of the chosen pieces. */
  bytes = 0

  readonly #capacity: number
  readonly #maxPieces: number
  readonly #held = new Set<string>()

  /** @throws RangeError if no aggregate has this size */
  constructor({ size, maxPieces = Number.POSITIVE_INFINITY }: SelectionLimits) {
    this.#capacity = capacityOf(size)
    this.#maxPieces = Math.min(maxPieces, indexEntries(size))
  }

  /** Whether every further candidate will be passed over. */
  get full(): boolean {
    return this.chosen.length >= this.#maxPieces || this.#capacity - this.bytes < MIN_PIECE_SIZE
  }

  /**
   * Chooses the candidate and returns true, or passes it over and returns false: because it does not fit, because
   * the same piece is already chosen (an aggregate never contains a piece twice), or because its link is not a piece
   * link.
   */
  offer(candidate: Candidate): boolean {
    const { piece } = candidate
    if (this.full || faultOf(piece)) return false
    const size = sizeOf(heightOf(piece))
    if (this.bytes + size > this.#capacity) return false
    const key = keyOf(piece)
    if (this.#held.has(key)) return false
    this.#held.add(key)
    this.bytes += size
    this.chosen.push(candidate)
    return true
  }
}

/** A link's digest as a binary string: equal for equal pieces, and much cheaper than the link as text. */
const keyOf = ({ multihash: { digest } }: PieceLink): string =>
  Buffer.from(digest.buffer, digest.byteOffset, digest.byteLength).toString('latin1')

/** Offers all candidates, in order of priority, to a {@link Selection}. */
export const select = <Candidate extends { piece: PieceLink }>(
  candidates: Iterable<Candidate>,
  limits: SelectionLimits,
): { chosen: Candidate[]; passedOver: Candidate[] } => {
  const selection = new Selection<Candidate>(limits)
  const passedOver: Candidate[] = []
  for (const candidate of candidates) {
    if (!selection.offer(candidate)) passedOver.push(candidate)
  }
  return { chosen: selection.chosen, passedOver }
}
