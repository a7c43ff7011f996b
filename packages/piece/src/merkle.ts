import { type Sha256, sha256 } from './sha256.ts'

/** Bytes of a node of a piece's tree, including leaves. */
export const NODE_SIZE = 32

/**
 * Hashes a level of a tree, an even number of concatenated nodes, to the level above it.
 *
 * A node must be an element of a field of 254 bits, so the two highest bits of each digest are cleared: the top two
 * of the last byte (the bytes are in little-endian order). `above` is half as long as `level`.
 */
export const hashLevel = (level: Uint8Array, above: Uint8Array, { hashInto }: Sha256 = sha256): void => {
  if (level.length === 0) return
  hashInto(level, above)
  for (let last = NODE_SIZE - 1; last < above.length; last += NODE_SIZE) above[last]! &= 0b0011_1111
}

/** The parent of `left` and `right`. */
export const hashPair = (left: Uint8Array, right: Uint8Array, backend: Sha256 = sha256): Uint8Array => {
  const pair = new Uint8Array(2 * NODE_SIZE)
  pair.set(left)
  pair.set(right, NODE_SIZE)
  const node = new Uint8Array(NODE_SIZE)
  hashLevel(pair, node, backend)
  return node
}

const zeroCommitments: Uint8Array[] = [new Uint8Array(NODE_SIZE)]

/**
 * Root of a tree of the given height whose leaves are all zero. Do not write to it: callers share it.
 *
 * @see https://github.com/filecoin-project/FIPs/blob/master/FRCs/frc-0058.md unused space is zero
 */
export const zeroCommitment = (height: number): Uint8Array => {
  for (let h = zeroCommitments.length; h <= height; h++) {
    const below = zeroCommitments[h - 1]!
    zeroCommitments.push(hashPair(below, below))
  }
  return zeroCommitments[height]!
}
