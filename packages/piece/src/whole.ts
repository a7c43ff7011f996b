import { type InvalidPiece, indexOf, place } from './aggregate.ts'
import { QUAD_PAYLOAD_SIZE, QUAD_SIZE, unpadQuads } from './fr32.ts'
import { capacityOf } from './limits.ts'
import { type AnyLink, contentSizeOf, decodePiece, encodePiece, type Piece, type PieceLink } from './link.ts'
import { hashPair } from './merkle.ts'
import type { Result } from './result.ts'
import { type Sha256, sha256 } from './sha256.ts'

/**
 * A stretch of the payload of an aggregate: bytes of the content of a piece from `from` on, given bytes, or zeros.
 *
 * @example { length: 1000, piece: CID(bafkzci…), from: 0 }
 * @example { length: 24 } // zeros
 */
export type Stretch = { length: number } & (
  | { piece: PieceLink; from: number; bytes?: undefined }
  | { bytes: Uint8Array; piece?: undefined }
  | { piece?: undefined; bytes?: undefined }
)

/** The payload of an aggregate: the bytes whose piece it is. */
export interface Whole {
  /** Bytes of the payload: 127 for each 128 padded ones. */
  length: number
  /**
   * Yields the stretches between two offsets, in order and without a gap.
   *
   * @throws RangeError if the payload does not have these offsets
   */
  stretches(from: number, to: number): Iterable<Stretch>
}

interface Placed {
  at: number
  stretch: Stretch
}

/**
 * Lays out the payload of an aggregate. It is the contents of its pieces, each filled with zeros to the payload size of the piece,
 * and the data segment index at the end, of which the bits are removed that Fr32 padding appends. So any part of the aggregate can be
 * produced alone, and the piece of the whole payload is the aggregate.
 *
 * @param options.pieces in the order of the aggregate
 * @param options.size padded bytes of the aggregate
 * @returns `InvalidPiece` if the pieces do not fit
 * @throws RangeError if no aggregate has this size
 */
export const layOut = ({
  pieces,
  size,
  backend = sha256,
}: {
  pieces: readonly AnyLink[]
  size: number
  backend?: Sha256
}): Result<Whole, InvalidPiece> => {
  const { ok: contents, error } = place(pieces, size)
  if (error) return { error }
  const { links, parts } = contents
  const placed: Placed[] = []
  for (const [n, link] of links.entries()) {
    const piece = decodePiece(link).ok as Piece
    const length = contentSizeOf(piece)
    const { index } = (parts[n] as (typeof parts)[number]).location
    const at = toPayload(Number(index) * piece.size)
    if (length > 0) placed.push({ at, stretch: { length, piece: link, from: 0 } })
  }
  const entries = indexOf(parts, backend)
  const index = new Uint8Array(Math.ceil(entries.byteLength / QUAD_SIZE) * QUAD_SIZE)
  index.set(entries)
  const bytes = unpadQuads(index)
  placed.push({ at: toPayload(capacityOf(size)), stretch: { length: bytes.byteLength, bytes } })
  return { ok: new LaidOut(toPayload(size), placed) }
}

/**
 * Returns the piece of a payload from the pieces of its parts. So a payload can be hashed part by part, in any order.
 *
 * @param parts pieces of one size without padding, a power of two of them
 * @throws RangeError if they are not
 */
export const joinPieces = (parts: readonly AnyLink[]): PieceLink => {
  const pieces = parts.map(link => decodePiece(link).ok)
  const { height = 0 } = pieces[0] ?? {}
  const levels = Math.log2(parts.length)
  if (!Number.isInteger(levels) || pieces.some(piece => piece?.height !== height || piece.padding !== 0n))
    throw new RangeError('Expected full pieces of one size, a power of two of them')
  let roots = pieces.map(piece => (piece as { root: Uint8Array }).root)
  while (roots.length > 1)
    roots = Array.from({ length: roots.length / 2 }, (_, n) =>
      hashPair(roots[2 * n] as Uint8Array, roots[2 * n + 1] as Uint8Array),
    )
  return encodePiece({ root: roots[0] as Uint8Array, height: height + levels, padding: 0n })
}

/** Converts a padded size or offset, a multiple of 128, to that in the payload. */
const toPayload = (padded: number): number => (padded / QUAD_SIZE) * QUAD_PAYLOAD_SIZE

class LaidOut implements Whole {
  readonly length: number
  readonly #placed: readonly Placed[]

  constructor(length: number, placed: readonly Placed[]) {
    this.length = length
    this.#placed = placed
  }

  *stretches(from: number, to: number): Iterable<Stretch> {
    if (
      !(
        Number.isSafeInteger(from) &&
        Number.isSafeInteger(to) &&
        0 <= from &&
        from <= to &&
        to <= this.length
      )
    )
      throw new RangeError(`No bytes ${from} to ${to}: the payload has ${this.length}`)
    let at = from
    for (let n = this.#firstAfter(from); n < this.#placed.length && at < to; n++) {
      const { at: start, stretch } = this.#placed[n] as Placed
      if (start > at) yield { length: Math.min(start, to) - at }
      at = Math.max(at, Math.min(start, to))
      const end = Math.min(start + stretch.length, to)
      if (end <= at) continue
      yield cut(stretch, at - start, end - start)
      at = end
    }
    if (at < to) yield { length: to - at }
  }

  /** The first stretch that ends after an offset, by binary search. */
  #firstAfter(offset: number): number {
    let [low, high] = [0, this.#placed.length]
    while (low < high) {
      const middle = (low + high) >> 1
      const { at, stretch } = this.#placed[middle] as Placed
      if (at + stretch.length <= offset) low = middle + 1
      else high = middle
    }
    return low
  }
}

const cut = (stretch: Stretch, from: number, to: number): Stretch => {
  const length = to - from
  if (stretch.piece) return { length, piece: stretch.piece, from }
  return stretch.bytes ? { length, bytes: stretch.bytes.subarray(from, to) } : { length }
}
