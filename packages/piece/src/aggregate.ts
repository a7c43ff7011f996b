import {
  type AggregateLink,
  Inclusion as InclusionProof,
  Index,
  Aggregate as Library,
  type MerkleTreeNode,
  type MerkleTreeNodeSource,
  Segment,
} from '@web3-storage/data-segment'
import type { Inclusion } from './inclusion.ts'
import { aggregateSize, INDEX_ENTRY_SIZE, MIN_AGGREGATE_SIZE } from './limits.ts'
import {
  type AnyLink,
  decodePiece,
  encodePiece,
  faultOf,
  heightOf,
  type InvalidPieceCID,
  MAX_HEIGHT,
  type PieceLink,
} from './link.ts'
import { hashLevel, NODE_SIZE } from './merkle.ts'
import type { Result } from './result.ts'
import { type Sha256, sha256, toHasher } from './sha256.ts'
import { type Nodes, type Path, SparseTree } from './sparse-tree.ts'

/** An aggregate: pieces that together form one Filecoin piece, and their positions in it. */
export interface Aggregate {
  link: AggregateLink
  /** Root of the aggregate's tree, 32 bytes. */
  root: MerkleTreeNode
  /** Height of the aggregate's tree: 30 for 32 GiB. */
  height: number
  /** Padded bytes of the aggregate. */
  size: number
  /** The pieces in the order in which they lie in the aggregate. */
  pieces: PieceLink[]
  /**
   * Proves that `pieces[i]` is in the aggregate.
   *
   * @throws RangeError if there is no `pieces[i]`
   */
  proof(i: number): Inclusion
  /**
   * Proves for each of `pieces` in turn that it is in the aggregate. A proof is computed when it is requested. The proofs share
   * the nodes of their paths: do not write to them.
   */
  proofs(): Iterable<Inclusion>
}

/** Some pieces cannot be in the aggregate: `cause` names each of them and says why. */
export interface InvalidPiece {
  name: 'InvalidPiece'
  message: string
  cause: InvalidPieceCID[]
}

/**
 * Sorts pieces into the order in which an aggregate wastes no space: largest first, and equally large ones in the
 * order supplied. Each piece then starts where the previous one ends: a piece starts at a multiple of its size, and
 * the pieces before it have its size or a multiple of it.
 *
 * Links that are not piece links are put last.
 */
export const layout = (pieces: readonly PieceLink[]): PieceLink[] => {
  const byHeight: PieceLink[][] = Array.from({ length: MAX_HEIGHT + 1 }, () => [])
  for (const link of pieces) byHeight[faultOf(link) ? 0 : heightOf(link)]!.push(link)
  return byHeight.reverse().flat()
}

/**
 * Builds the aggregate of the pieces, laid out largest first, with a data segment index of them at the end.
 *
 * Takes about two seconds for 262,144 pieces, all of it synchronous. It needs only the pieces' links, not their
 * content.
 *
 * @param options.size padded bytes of the aggregate
 * @returns `InvalidPiece` if the index has fewer entries than there are pieces, or if a piece is too large or invalid
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
  const { ok: contents, error } = place(layout(pieces), size)
  return contents ? { ok: new BuiltAggregate(contents, size, backend) } : { error }
}

/**
 * Computes the link of the aggregate of exactly these pieces in exactly this order, with the size of `aggregate`.
 * The result equals `aggregate` if, and only if, `aggregate` was computed from these pieces. A piece that would not
 * start at a multiple of its size leaves a gap before it, as in the published implementations.
 *
 * @returns `InvalidPieceCID` if `aggregate` cannot be an aggregate, `InvalidPiece` if the pieces do not fit
 */
export const recompute = (
  pieces: readonly AnyLink[],
  aggregate: AnyLink,
  { backend = sha256 }: { backend?: Sha256 } = {},
): Result<AggregateLink, InvalidPieceCID | InvalidPiece> => {
  const { ok: claimed, error } = decodePiece(aggregate)
  if (error) return { error }
  if (claimed.padding > 0n || claimed.size < MIN_AGGREGATE_SIZE) {
    return {
      error: {
        name: 'InvalidPieceCID',
        message: `Not the link of an aggregate: expected ${MIN_AGGREGATE_SIZE} padded bytes or more, and no padding`,
        piece: aggregate,
      },
    }
  }
  const { ok: contents, error: invalid } = place(pieces, claimed.size)
  return invalid ? { error: invalid } : { ok: new BuiltAggregate(contents, claimed.size, backend).link }
}

/** The pieces of an aggregate, and in the same order their roots with their positions in its tree. */
export interface Contents {
  links: PieceLink[]
  parts: MerkleTreeNodeSource[]
}

/** Places each piece, in the order supplied, at the next multiple of its size, and collects those that do not fit. */
export const place = (pieces: readonly AnyLink[], size: number): Result<Contents, InvalidPiece> => {
  const builder = Library.createBuilder({ size: aggregateSize(size) })
  const links: PieceLink[] = []
  const cause: InvalidPieceCID[] = []
  for (const link of pieces) {
    const { ok: piece, error } = decodePiece(link)
    if (error) {
      cause.push(error)
      continue
    }
    try {
      builder.write(piece)
      links.push(piece.link)
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      const placedBytes = builder.offset * BigInt(NODE_SIZE)
      cause.push({
        name: 'InvalidPieceCID',
        message: `No room in an aggregate of ${size} bytes behind ${links.length} pieces that take ${placedBytes}`,
        piece: link,
      })
    }
  }
  if (cause.length === 0) return { ok: { links, parts: builder.parts } }
  return {
    error: {
      name: 'InvalidPiece',
      message: `${cause.length} of ${pieces.length} pieces cannot be in an aggregate of ${size} bytes`,
      cause,
    },
  }
}

class BuiltAggregate implements Aggregate {
  readonly link: AggregateLink
  readonly root: MerkleTreeNode
  readonly height: number
  readonly size: number
  readonly pieces: PieceLink[]
  readonly #parts: MerkleTreeNodeSource[]
  readonly #tree: SparseTree
  /** Position of the first index entry among the nodes of level 1, each of which is the parent of one entry. */
  readonly #indexStart: bigint

  constructor({ links, parts }: Contents, size: number, backend: Sha256) {
    this.size = size
    this.height = Math.log2(size / NODE_SIZE)
    this.pieces = links
    this.#parts = parts
    this.#indexStart = InclusionProof.indexAreaStart(aggregateSize(size)) / Index.EntrySize

    const subtrees = groupByLevel(parts)
    const first = Number(this.#indexStart)
    const index: Nodes = {
      positions: new Float64Array(parts.length).map((_, n) => first + n),
      bytes: hashIndex(parts, backend),
    }
    // The smallest piece has its root at level 2.
    this.#tree = new SparseTree(this.height, level => (level === 1 ? index : subtrees[level]), backend)

    this.root = this.#tree.root
    this.link = encodePiece({ root: this.root, height: this.height, padding: 0n })
  }

  proof(i: number, lastPaths?: Path[]): Inclusion {
    const part = this.#parts[i]
    if (!part) throw new RangeError(`No piece ${i}: the aggregate has ${this.pieces.length}`)
    const { level, index } = part.location
    return {
      subtree: this.#tree.collectProof(level, index, lastPaths),
      index: this.#tree.collectProof(1, this.#indexStart + BigInt(i), lastPaths),
    }
  }

  *proofs(): Iterable<Inclusion> {
    const lastPaths: Path[] = []
    for (let i = 0; i < this.pieces.length; i++) yield this.proof(i, lastPaths)
  }
}

/** The entries of the data segment index, concatenated. */
export const indexOf = (parts: readonly MerkleTreeNodeSource[], backend: Sha256): Uint8Array => {
  const hasher = toHasher(backend)
  const entries = new Uint8Array(parts.length * INDEX_ENTRY_SIZE)
  let end = 0
  for (const part of parts) {
    entries.set(Segment.toBytes(Segment.fromSource(part), { hasher }), end)
    end += INDEX_ENTRY_SIZE
  }
  return entries
}

/** The parents of the entries of the data segment index, concatenated. An entry is two leaves of the tree. */
const hashIndex = (parts: readonly MerkleTreeNodeSource[], backend: Sha256): Uint8Array => {
  const entries = indexOf(parts, backend)
  const nodes = new Uint8Array(parts.length * NODE_SIZE)
  hashLevel(entries, nodes, backend)
  return nodes
}

/** Groups the pieces' roots by their level in the aggregate's tree. */
const groupByLevel = (parts: readonly MerkleTreeNodeSource[]): Nodes[] => {
  const counts = new Float64Array(MAX_HEIGHT + 1)
  for (const { location } of parts) counts[location.level]!++

  const levels: Nodes[] = []
  for (const [level, count] of counts.entries()) {
    if (count > 0) {
      levels[level] = { positions: new Float64Array(count), bytes: new Uint8Array(count * NODE_SIZE) }
    }
  }
  const filled = new Float64Array(MAX_HEIGHT + 1)
  for (const { node, location } of parts) {
    const { positions, bytes } = levels[location.level]!
    const at = filled[location.level]!++
    positions[at] = Number(location.index)
    bytes.set(node, at * NODE_SIZE)
  }
  return levels
}
