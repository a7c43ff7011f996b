import { copyNode, hashLevel, NODE_SIZE, zeroCommitment } from './merkle.ts'
import { type Sha256, sha256 } from './sha256.ts'

const PAIR_SIZE = 2 * NODE_SIZE

/** Nodes of one level of a tree. */
export interface Nodes {
  /** Where in the level each one is, counted from the left, ascending. */
  positions: Float64Array
  /** The nodes, one behind the other. */
  bytes: Uint8Array
}

/** A level of the tree: every pair of siblings that is not all zeros. */
interface Level {
  /** The position of each pair, ascending, which is also that of its parent in the level above. */
  pairs: Float64Array
  /** The pairs, one behind the other. Where only one sibling was given, the other is the zero commitment. */
  bytes: Uint8Array
}

/**
 * A Merkle tree that is zeros but for some given subtrees, built from the bottom up: every level is hashed in
 * one batch, and only what is not zero is kept.
 */
export class SparseTree {
  readonly root: Uint8Array
  readonly height: number
  readonly #levels: Level[] = []

  /**
   * @param height of the tree; leaves are at level 0
   * @param given the roots of the subtrees by level. None may lie within another.
   */
  constructor(height: number, given: (level: number) => Nodes | undefined, backend: Sha256 = sha256) {
    this.height = height
    const none: Nodes = { positions: new Float64Array(0), bytes: new Uint8Array(0) }
    let below = none
    for (let h = 0; h < height; h++) {
      const level = pairUp(merge(below, given(h) ?? none), zeroCommitment(h))
      const bytes = new Uint8Array(level.bytes.length / 2)
      hashLevel(level.bytes, bytes, backend)
      this.#levels.push(level)
      below = { positions: level.pairs, bytes }
    }
    this.root = below.bytes.length > 0 ? below.bytes : zeroCommitment(height)
  }

  /**
   * The siblings on the way from a node that was given, or one above such, up to the root. Copies, so that a
   * path does not keep the tree in memory.
   */
  path(level: number, position: number): Uint8Array[] {
    const path: Uint8Array[] = []
    let at = position
    for (let h = level; h < this.height; h++) {
      const { pairs, bytes } = this.#levels[h]!
      const parent = Math.floor(at / 2)
      // The sibling of a left node is the right one of the pair.
      const sibling = indexOf(pairs, parent) * PAIR_SIZE + (at % 2 === 0 ? NODE_SIZE : 0)
      path.push(bytes.slice(sibling, sibling + NODE_SIZE))
      at = parent
    }
    return path
  }
}

/** Both runs of nodes as one. Neither has a node that the other has. */
const merge = (a: Nodes, b: Nodes): Nodes => {
  if (b.positions.length === 0) return a
  if (a.positions.length === 0) return b
  const positions = new Float64Array(a.positions.length + b.positions.length)
  const bytes = new Uint8Array(positions.length * NODE_SIZE)
  let i = 0
  let j = 0
  for (let n = 0; n < positions.length; n++) {
    const isA = j === b.positions.length || (i < a.positions.length && a.positions[i]! < b.positions[j]!)
    const from = isA ? a : b
    const index = isA ? i++ : j++
    positions[n] = from.positions[index]!
    copyNode(from.bytes, index * NODE_SIZE, bytes, n * NODE_SIZE)
  }
  return { positions, bytes }
}

/** Puts each node beside its sibling, which is the zero commitment if it is not among them. */
const pairUp = ({ positions, bytes }: Nodes, zero: Uint8Array): Level => {
  const pairs = new Float64Array(countPairs(positions))
  const paired = new Uint8Array(pairs.length * PAIR_SIZE)
  for (let n = 0, pair = 0; pair < pairs.length; pair++) {
    const parent = Math.floor(positions[n]! / 2)
    pairs[pair] = parent
    for (let side = 0; side < 2; side++) {
      const to = pair * PAIR_SIZE + side * NODE_SIZE
      if (positions[n] === 2 * parent + side) copyNode(bytes, n++ * NODE_SIZE, paired, to)
      else copyNode(zero, 0, paired, to)
    }
  }
  return { pairs, bytes: paired }
}

const countPairs = (positions: Float64Array): number => {
  let count = 0
  for (let n = 0; n < positions.length; n++) {
    if (n === 0 || Math.floor(positions[n]! / 2) !== Math.floor(positions[n - 1]! / 2)) count++
  }
  return count
}

/** Index of a number that is known to be among the sorted ones. */
const indexOf = (sorted: Float64Array, wanted: number): number => {
  let low = 0
  let high = sorted.length - 1
  while (low < high) {
    const middle = (low + high) >>> 1
    if (sorted[middle]! < wanted) low = middle + 1
    else high = middle
  }
  return low
}
