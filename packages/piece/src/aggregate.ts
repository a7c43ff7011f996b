import type { ProofData } from '@web3-storage/data-segment'
import type { Inclusion } from './inclusion.ts'
import { capacityOf, INDEX_ENTRY_SIZE, indexEntries, MIN_AGGREGATE_SIZE } from './limits.ts'
import {
  type AnyLink,
  copyRoot,
  decodePiece,
  encodePiece,
  faultOf,
  heightOf,
  type InvalidPieceCID,
  MAX_HEIGHT,
  type PieceLink,
  sizeOf,
} from './link.ts'
import { copyNode, hashLevel, NODE_SIZE } from './merkle.ts'
import type { Result } from './result.ts'
import { type Sha256, sha256 } from './sha256.ts'
import { type Nodes, SparseTree } from './sparse-tree.ts'

/** Pieces that together are a Filecoin piece, and where in it each one is. */
export interface Aggregate {
  link: PieceLink
  /** Root of the aggregate's tree, 32 bytes. */
  root: Uint8Array
  /** Height of the aggregate's tree: 30 for 32 GiB. */
  height: number
  /** Padded bytes of the aggregate. */
  size: number
  /** The pieces in the order in which they lie in the aggregate. */
  pieces: PieceLink[]
  /** Proves that `pieces[i]` is in the aggregate. */
  proof(i: number): Inclusion
  /** Proves of each of `pieces` in turn that it is in the aggregate. Each proof is made when it is asked for. */
  proofs(): Iterable<Inclusion>
}

/** Some pieces cannot be in the aggregate: `cause` names each, and says why. */
export interface InvalidPiece {
  name: 'InvalidPiece'
  message: string
  cause: InvalidPieceCID[]
}

/**
 * The order in which pieces are laid out: largest first, and in the order given where they are equally large.
 * Each then starts where the one before it ends. (A piece starts at a multiple of its size. What lies before it
 * are pieces of its size or a multiple of that, so no gap is needed.)
 *
 * A link that is not one of a piece comes last.
 */
export const layout = (pieces: readonly PieceLink[]): PieceLink[] => {
  const byHeight: PieceLink[][] = Array.from({ length: MAX_HEIGHT + 1 }, () => [])
  for (const link of pieces) byHeight[faultOf(link) ? 0 : heightOf(link)]!.push(link)
  return byHeight.reverse().flat()
}

/**
 * Aggregates pieces, laid out largest first, with a data segment index of them at the end.
 *
 * Takes about a second for 262,144 pieces, all of it synchronous. No piece's content is needed, only its link.
 *
 * @param options.size padded bytes of the aggregate
 * @returns `InvalidPiece` if there are more pieces than the index has entries, or if one is too large or invalid
 * @throws RangeError if no aggregate has this size
 * @see https://github.com/filecoin-project/FIPs/blob/master/FRCs/frc-0058.md
 */
export const buildAggregate = ({
  pieces,
  size,
  backend = sha256,
}: {
  pieces: readonly PieceLink[]
  size: number
  backend?: Sha256
}): Result<Aggregate, InvalidPiece> => {
  const { ok: segments, error } = place(layout(pieces), size)
  return segments ? { ok: new BuiltAggregate(segments, size, backend) } : { error }
}

/**
 * The aggregate that is made by exactly these pieces in exactly this order, of the size that `aggregate` says:
 * the same link as `aggregate` if, and only if, that was computed from them. Where a piece would not start at
 * a multiple of its size, space before it is left empty, as published implementations do.
 *
 * @returns `InvalidPieceCID` if `aggregate` cannot be one, `InvalidPiece` if the pieces cannot make one
 */
export const recompute = (
  pieces: readonly AnyLink[],
  aggregate: AnyLink,
  { backend = sha256 }: { backend?: Sha256 } = {},
): Result<PieceLink, InvalidPieceCID | InvalidPiece> => {
  const { ok: claimed, error } = decodePiece(aggregate)
  if (error) return { error }
  if (claimed.padding > 0n || claimed.size < MIN_AGGREGATE_SIZE) {
    return {
      error: {
        name: 'InvalidPieceCID',
        message: `Not the link of an aggregate: those have ${MIN_AGGREGATE_SIZE} padded bytes or more, and no padding`,
        piece: aggregate,
      },
    }
  }
  const placed = place(pieces, claimed.size)
  if (placed.error) return placed
  return { ok: new BuiltAggregate(placed.ok, claimed.size, backend).link }
}

/**
 * The pieces of an aggregate, in columns: what is needed of a link is read once, since following hundreds of
 * thousands of them through memory is slower than all the hashing.
 */
interface Segments {
  links: PieceLink[]
  heights: Uint8Array
  /** 32 bytes for each piece. */
  roots: Uint8Array
  /** Padded bytes before each piece, a multiple of its size. */
  offsets: Float64Array
}

/** Gives each piece the first place behind the piece before it that is a multiple of its size. */
const place = (pieces: readonly AnyLink[], size: number): Result<Segments, InvalidPiece> => {
  const entries = indexEntries(size)
  const capacity = capacityOf(size)
  const most = Math.min(pieces.length, entries)
  const links: PieceLink[] = []
  const heights = new Uint8Array(most)
  const roots = new Uint8Array(most * NODE_SIZE)
  const offsets = new Float64Array(most)
  const cause: InvalidPieceCID[] = []
  let end = 0
  for (const link of pieces) {
    const fault = faultOf(link)
    if (fault) {
      cause.push(fault)
      continue
    }
    const height = heightOf(link)
    const pieceSize = sizeOf(height)
    const offset = Math.ceil(end / pieceSize) * pieceSize
    const n = links.length
    if (n === entries || offset + pieceSize > capacity) {
      cause.push({
        name: 'InvalidPieceCID',
        message: `No room in an aggregate of ${size} bytes behind ${n} pieces that take ${end}`,
        piece: link,
      })
      continue
    }
    heights[n] = height
    copyRoot(link, roots, n * NODE_SIZE)
    offsets[n] = offset
    links.push(link as PieceLink)
    end = offset + pieceSize
  }
  if (cause.length === 0) return { ok: { links, heights, roots, offsets } }
  return {
    error: {
      name: 'InvalidPiece',
      message: `${cause.length} of ${pieces.length} pieces cannot be in an aggregate of ${size} bytes`,
      cause,
    },
  }
}

class BuiltAggregate implements Aggregate {
  readonly link: PieceLink
  readonly root: Uint8Array
  readonly height: number
  readonly size: number
  readonly pieces: PieceLink[]
  readonly #offsets: Float64Array
  readonly #tree: SparseTree
  /** Position of the first index entry among nodes of level 1, each of which is over one entry. */
  readonly #indexStart: number

  constructor(segments: Segments, size: number, backend: Sha256) {
    this.size = size
    this.height = Math.log2(size / NODE_SIZE)
    this.pieces = segments.links
    this.#offsets = segments.offsets
    this.#indexStart = capacityOf(size) / INDEX_ENTRY_SIZE

    const index: Nodes = {
      positions: new Float64Array(segments.links.length).map((_, n) => this.#indexStart + n),
      bytes: hashIndex(segments, backend),
    }
    const byHeight = groupByHeight(segments)
    this.#tree = new SparseTree(this.height, level => (level === 1 ? index : byHeight[level]), backend)

    this.root = this.#tree.root
    this.link = encodePiece({ root: this.root, height: this.height, padding: 0n })
  }

  proof(i: number): Inclusion {
    const link = this.pieces[i]
    if (link === undefined) throw new RangeError(`No piece ${i} among ${this.pieces.length}`)
    const height = heightOf(link)
    return {
      subtree: this.#proofData(height, this.#offsets[i]! / sizeOf(height)),
      index: this.#proofData(1, this.#indexStart + i),
    }
  }

  *proofs(): Iterable<Inclusion> {
    for (let i = 0; i < this.pieces.length; i++) yield this.proof(i)
  }

  #proofData(level: number, position: number): ProofData {
    return [BigInt(position), this.#tree.path(level, position)]
  }
}

/**
 * The nodes above the entries of the data segment index, one for each.
 *
 * An entry is of two nodes: the piece's root; and its offset and size, 64 bits each, with a checksum of 126
 * bits: SHA-256 of the entry with zeros in its place.
 */
const hashIndex = ({ links, heights, roots, offsets }: Segments, backend: Sha256): Uint8Array => {
  const entries = new Uint8Array(links.length * INDEX_ENTRY_SIZE)
  const view = new DataView(entries.buffer)
  for (let n = 0; n < links.length; n++) {
    const entry = n * INDEX_ENTRY_SIZE
    copyNode(roots, n * NODE_SIZE, entries, entry)
    setUint64(view, entry + 32, offsets[n]!)
    setUint64(view, entry + 40, sizeOf(heights[n]!))
  }

  const digests = new Uint8Array(links.length * NODE_SIZE)
  hashLevel(entries, digests, backend)
  for (let n = 0; n < links.length; n++) {
    const checksum = n * INDEX_ENTRY_SIZE + 48
    for (let i = 0; i < 16; i++) entries[checksum + i] = digests[n * NODE_SIZE + i]!
    entries[checksum + 15]! &= 0b0011_1111
  }

  const nodes = digests
  hashLevel(entries, nodes, backend)
  return nodes
}

/** A whole number below 2^53, in little-endian order. A BigInt each would be slower. */
const setUint64 = (view: DataView, at: number, value: number) => {
  view.setUint32(at, value % 2 ** 32, true)
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true)
}

/** By height, the pieces of that height: their roots are nodes of that level of the aggregate's tree. */
const groupByHeight = ({ heights, roots, offsets }: Segments): Nodes[] => {
  const counts = new Float64Array(MAX_HEIGHT + 1)
  for (const height of heights) counts[height]!++

  const levels = Array.from(counts, count => ({
    positions: new Float64Array(count),
    bytes: new Uint8Array(count * NODE_SIZE),
  }))
  const filled = new Float64Array(MAX_HEIGHT + 1)
  for (let n = 0; n < heights.length; n++) {
    const height = heights[n]!
    const { positions, bytes } = levels[height]!
    const at = filled[height]!++
    positions[at] = offsets[n]! / sizeOf(height)
    copyNode(roots, n * NODE_SIZE, bytes, at * NODE_SIZE)
  }
  return levels
}
