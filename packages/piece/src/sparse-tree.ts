import type { AggregateTree, ProofData } from '@web3-storage/data-segment'
import { hashLevel, NODE_SIZE, zeroCommitment } from './merkle.ts'
import { type Sha256, sha256 } from './sha256.ts'

const PAIR_SIZE = 2 * NODE_SIZE

/** Nodes of one level of a tree. */
export interface Nodes {
  /** Position of each node within the level, counted from the left, ascending. */
  positions: Float64Array
  /** The nodes, concatenated. They must be aligned to 4 bytes, as those of every new array are. */
  bytes: Uint8Array
}

/** A level of the tree: every pair of siblings that is not all zeros. */
interface Level {
  /** Position of each pair, ascending. It is also the position of the pair's parent in the level above. */
  pairs: Float64Array
  /** The pairs, concatenated. A sibling that was not supplied is the zero commitment. */
  bytes: Uint8Array
}

/**
 * The siblings on a path to the root, and their positions in their levels. In two arrays, because V8 would put objects of both
 * into its old generation, where they keep every sibling until a full collection.
 */
export interface Path {
  positions: Float64Array
  siblings: Uint8Array[]
}

/**
 * A Merkle tree that is all zeros except for the supplied subtrees. It has the members of the published library's
 * tree that an aggregate needs.
 *
 * It is built from the bottom up: each level is hashed in one batch, and only nodes that are not zero are kept.
 * The library's tree instead hashes the whole path to the root again for every node that it is given.
 */
export class SparseTree implements Pick<AggregateTree, 'root' | 'height' | 'collectProof'> {
  readonly root: Uint8Array
  readonly height: number
  readonly #levels: Level[] = []

  /**
   * @param height of the tree; leaves are at level 0
   * @param nodesOf returns the roots of the subtrees at a level. No subtree may lie within another.
   */
  constructor(height: number, nodesOf: (level: number) => Nodes | undefined, backend: Sha256 = sha256) {
    this.height = height
    const none: Nodes = { positions: new Float64Array(0), bytes: new Uint8Array(0) }
    let below = none
    for (let h = 0; h < height; h++) {
      const level = pairUp(merge(below, nodesOf(h) ?? none), zeroCommitment(h))
      const bytes = new Uint8Array(level.bytes.length / 2)
      hashLevel(level.bytes, bytes, backend)
      this.#levels.push(level)
      below = { positions: level.pairs, bytes }
    }
    this.root = below.bytes.length > 0 ? below.bytes : zeroCommitment(height)
  }

  /**
   * The proof of a supplied node, or of a node above one: its position, and the siblings on its path to the root.
   * The siblings are copies, so a proof does not keep the tree in memory.
   *
   * @param lastPaths by level, the paths of the last proofs. With the same array in each call, proofs share their siblings: those
   * of neighbours differ in two on average, of some thirty.
   */
  collectProof(level: number, position: bigint, lastPaths: Path[] = []): ProofData {
    lastPaths[level] ??= { positions: new Float64Array(this.height - level).fill(-1), siblings: [] }
    const { positions, siblings } = lastPaths[level]
    let at = Number(position)
    for (let h = level; h < this.height; h++) {
      const parent = Math.floor(at / 2)
      const isLeft = at % 2 === 0
      const sibling = isLeft ? at + 1 : at - 1
      if (positions[h - level] !== sibling) {
        const { pairs, bytes } = this.#levels[h]!
        // The sibling of a left node is the right node of the pair.
        const start = indexOf(pairs, parent) * PAIR_SIZE + (isLeft ? NODE_SIZE : 0)
        positions[h - level] = sibling
        siblings[h - level] = bytes.slice(start, start + NODE_SIZE)
      }
      at = parent
    }
    return [position, siblings.slice()]
  }
}

/** Merges two runs of nodes of the same level. No node may be in both. */
const merge = (a: Nodes, b: Nodes): Nodes => {
  if (b.positions.length === 0) return a
  if (a.positions.length === 0) return b
  const positions = new Float64Array(a.positions.length + b.positions.length)
  const bytes = new Uint8Array(positions.length * NODE_SIZE)
  const words = wordsOf(bytes)
  const aWords = wordsOf(a.bytes)
  const bWords = wordsOf(b.bytes)
  let i = 0
  let j = 0
  for (let n = 0; n < positions.length; n++) {
    if (j === b.positions.length || (i < a.positions.length && a.positions[i]! < b.positions[j]!)) {
      positions[n] = a.positions[i]!
      copyNode(aWords, i++, words, n)
    } else {
      positions[n] = b.positions[j]!
      copyNode(bWords, j++, words, n)
    }
  }
  return { positions, bytes }
}

/** Pairs each node with its sibling, or with the zero commitment if the sibling is missing. */
const pairUp = ({ positions, bytes }: Nodes, zero: Uint8Array): Level => {
  const pairs = new Float64Array(countPairs(positions))
  const paired = new Uint8Array(pairs.length * PAIR_SIZE)
  const pairedWords = wordsOf(paired)
  const words = wordsOf(bytes)
  const zeroWords = wordsOf(zero)
  for (let n = 0, pair = 0; pair < pairs.length; pair++) {
    const parent = Math.floor(positions[n]! / 2)
    pairs[pair] = parent
    for (let side = 0; side < 2; side++) {
      if (positions[n] === 2 * parent + side) copyNode(words, n++, pairedWords, 2 * pair + side)
      else copyNode(zeroWords, 0, pairedWords, 2 * pair + side)
    }
  }
  return { pairs, bytes: paired }
}

/** The nodes as words of 32 bits: nodes are copied several times faster this way than byte by byte. */
const wordsOf = (bytes: Uint8Array) => new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)

const WORDS_PER_NODE = NODE_SIZE / 4

/** Copies a node. A loop, because for so few words it is faster than `set` of a `subarray`. */
const copyNode = (source: Int32Array, from: number, target: Int32Array, to: number): void => {
  for (let i = 0; i < WORDS_PER_NODE; i++)
    target[WORDS_PER_NODE * to + i] = source[WORDS_PER_NODE * from + i]!
}

const countPairs = (positions: Float64Array): number => {
  let count = 0
  for (let n = 0; n < positions.length; n++) {
    if (n === 0 || Math.floor(positions[n]! / 2) !== Math.floor(positions[n - 1]! / 2)) count++
  }
  return count
}

/** Index of a number that the sorted array contains. */
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
