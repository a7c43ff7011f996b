import {
  type InclusionProof,
  type IntoInclusionProof,
  Inclusion as Library,
  Proof,
  type ProofData,
  Segment,
} from '@web3-storage/data-segment'
import { type AnyLink, decodePiece } from './link.ts'
import { NODE_SIZE, zeroCommitment } from './merkle.ts'
import type { Result } from './result.ts'

/**
 * Proof that a piece is in an aggregate, as it is sent over the wire. Each of its two halves is `[offset, path]`: the
 * position of a node within its level of the aggregate's tree, and the siblings (32 bytes each) on the path to the
 * root. CBOR encodes an offset as a plain integer, and decodes it as a number.
 *
 * `subtree` starts at the piece's root, `index` at the piece's entry in the data segment index.
 *
 * @example { subtree: [2n, [sibling, …]], index: [16380n, [sibling, …]] }
 * @see https://github.com/filecoin-project/FIPs/blob/master/FRCs/frc-0058.md#proof-of-data-segment-inclusion
 */
export interface Inclusion {
  subtree: ProofData
  index: ProofData
}

/** An inclusion as it is received: offsets are numbers or bigints. */
export interface EncodedInclusion {
  subtree: EncodedPath
  index: EncodedPath
}

type EncodedPath = readonly [offset: number | bigint, path: readonly Uint8Array[]]

/** The proof does not prove that the piece is in the aggregate. */
export interface InvalidInclusion {
  name: 'InvalidInclusion'
  message: string
  /** The underlying failure, if there is one. */
  cause?: { name: string; message: string }
}

/**
 * Converts an inclusion to the `InclusionProof` of the published library, with offsets as bigints.
 *
 * @example toInclusionProof({ subtree: [2, path], index: [16380, indexPath] }) // [[2n, path], [16380n, indexPath]]
 */
export const toInclusionProof = ({ subtree, index }: EncodedInclusion): InclusionProof =>
  Library.from([subtree, index] as unknown as IntoInclusionProof)

/**
 * Verifies that the inclusion proves that `piece` is in `aggregate`.
 *
 * The inclusion may be any value, because peers send it: for every value that is not a valid proof the result is
 * `InvalidInclusion`, and nothing is thrown.
 *
 * @param claim the piece CID v2 of the piece, that of the aggregate, and the proof
 * @example verifyInclusion({ piece, aggregate, inclusion }).error?.message // undefined if the proof is valid
 */
export const verifyInclusion = ({
  piece,
  aggregate,
  inclusion,
}: {
  piece: AnyLink
  aggregate: AnyLink
  inclusion: EncodedInclusion
}): Result<Record<string, never>, InvalidInclusion> => {
  const decoded = decodePiece(piece)
  if (decoded.error) return invalid('The piece is invalid', decoded.error)

  const subtree = readProofData(inclusion?.subtree)
  if (!subtree.ok) return invalid(`The proof of the subtree is malformed: ${subtree.error}`)
  const index = readProofData(inclusion?.index)
  if (!index.ok) return invalid(`The proof of the index entry is malformed: ${index.error}`)

  const resolved = Library.resolveAggregate([subtree.ok, index.ok], decoded.ok.link)
  if (resolved.error) {
    // Copy only the message: the library's errors have generic names (`Error`, `RangeError`) and stacks.
    return invalid('The proof leads to no aggregate', {
      name: 'InvalidProof',
      message: resolved.error.message,
    })
  }
  if (`${resolved.ok}` !== `${aggregate}`) {
    return invalid(`The proof leads to ${resolved.ok}, not to ${aggregate}`)
  }
  return { ok: {} }
}

const invalid = (
  message: string,
  cause?: { name: string; message: string },
): { error: InvalidInclusion } => ({
  error: {
    name: 'InvalidInclusion',
    message: cause ? `${message}: ${cause.message}` : message,
    ...(cause && { cause }),
  },
})

/**
 * Checks that an untrusted value has the types of proof data, because the library computes with it unchecked. The
 * library itself rejects offsets beyond the tree and paths longer than the highest tree.
 */
const readProofData = (value: unknown): Result<ProofData, string> => {
  if (!Array.isArray(value) || value.length !== 2) return { error: 'expected [offset, path]' }
  const [offset, path] = value
  if (!(typeof offset === 'bigint' || Number.isSafeInteger(offset))) {
    return { error: 'the offset is not an integer' }
  }
  if (!Array.isArray(path)) return { error: 'the path is not a list' }
  for (const node of path) {
    if (!(node instanceof Uint8Array && node.length === NODE_SIZE)) {
      return { error: `a node is not of ${NODE_SIZE} bytes` }
    }
  }
  return { ok: [BigInt(offset), path] }
}

/** A path in the aggregate's tree, from a node up to the root. */
export interface InclusionPath {
  /** Level of the first node: 0 is that of the leaves. */
  level: number
  /**
   * The nodes, and at each of them its sibling in the proof, of which the parent is computed. `isRight` says whether the node
   * is the right one of the two, `isZero` whether the sibling is a subtree of zeros.
   */
  steps: { node: Uint8Array; sibling: Uint8Array; isRight: boolean; isZero: boolean }[]
  /** The last node, of which the proof claims that it is the root of the aggregate. */
  root: Uint8Array
}

/**
 * Computes the two paths of an inclusion: that of the piece's root, and that of its entry in the index. In a valid proof, both
 * end at the root of the aggregate.
 *
 * @param claim an inclusion that {@link verifyInclusion} has accepted, and its piece
 * @example inclusionPaths({ piece, inclusion }).subtree.steps.length // 9
 */
export const inclusionPaths = ({
  piece,
  inclusion,
}: {
  piece: AnyLink
  inclusion: EncodedInclusion
}): { subtree: InclusionPath; index: InclusionPath } => {
  const { root, height, size } = decodePiece(piece).ok!
  const [subtree, index] = toInclusionProof(inclusion)
  const entry = Segment.toBytes({ root, offset: subtree[0] * BigInt(size), size: BigInt(size) })
  return {
    subtree: climb(root, height, subtree),
    // An entry has two leaves: the piece's root, and its offset and size.
    index: climb(Proof.truncatedHash(entry), 1, index),
  }
}

const climb = (start: Uint8Array, level: number, [offset, path]: ProofData): InclusionPath => {
  let node = start
  let position = offset
  const steps = path.map((sibling, n) => {
    const isRight = position % 2n === 1n
    const step = { node, sibling, isRight, isZero: areEqual(sibling, zeroCommitment(level + n)) }
    node = isRight ? Proof.computeNode(sibling, node) : Proof.computeNode(node, sibling)
    position /= 2n
    return step
  })
  return { level, steps, root: node }
}

const areEqual = (a: Uint8Array, b: Uint8Array): boolean => a.every((byte, n) => byte === b[n])
