import { capacityOf, indexEntries, MIN_PIECE_SIZE } from './limits.ts'
import { type AnyLink, faultOf, heightOf, type PieceLink, sizeOf } from './link.ts'

/**
 * Whether an aggregate of `size` padded bytes could hold the piece, were it empty. False for what is no piece
 * link.
 */
export const canHold = (piece: AnyLink, size: number): boolean =>
  faultOf(piece) === undefined && sizeOf(heightOf(piece)) <= capacityOf(size)

/** What the aggregate to be may hold. */
export interface SelectionLimits {
  /** Padded bytes of the aggregate. */
  size: number
  /** The most pieces to take. Never more than the aggregate's index has entries, which is the default. */
  maxPieces?: number
}

/**
 * Chooses what goes into an aggregate. Candidates are offered one by one, those with priority first; each is
 * taken if it still fits. So one that is too large for the space left is passed over, and smaller ones behind
 * it fill the gap.
 *
 * What was chosen fits: pieces are laid out largest first, so no space is lost between them and their padded
 * sizes only have to add up to no more than the capacity.
 *
 * A candidate is any record with a piece link. The caller may page through a store and stop when `full`.
 */
export class Selection<Candidate extends { piece: PieceLink }> {
  /** Candidates taken, in the order offered. */
  readonly chosen: Candidate[] = []
  /** Padded bytes of the pieces taken. */
  bytes = 0

  readonly #capacity: number
  readonly #maxPieces: number
  readonly #held = new Set<string>()

  /** @throws RangeError if no aggregate has this size */
  constructor({ size, maxPieces = Number.POSITIVE_INFINITY }: SelectionLimits) {
    this.#capacity = capacityOf(size)
    this.#maxPieces = Math.min(maxPieces, indexEntries(size))
  }

  /** No piece that could be offered would be taken. */
  get full(): boolean {
    return this.chosen.length >= this.#maxPieces || this.#capacity - this.bytes < MIN_PIECE_SIZE
  }

  /**
   * Takes the candidate, or passes it over: because it does not fit, because the same piece was taken before
   * (an aggregate never holds a piece twice), or because its link is not one of a piece.
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

/** A link's digest as a string of bytes: equal for equal pieces, and far cheaper than the link as text. */
const keyOf = ({ multihash: { digest } }: PieceLink): string =>
  Buffer.from(digest.buffer, digest.byteOffset, digest.byteLength).toString('latin1')

/** {@link Selection} from candidates that are all at hand, in order of priority. */
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
