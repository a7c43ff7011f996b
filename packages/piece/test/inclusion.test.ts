import { IPLD, Inclusion as Library } from '@web3-storage/data-segment'
import { CID } from 'multiformats/cid'
import { describe, expect, it } from 'vitest'
import {
  buildAggregate,
  decodePiece,
  type EncodedInclusion,
  inclusionPaths,
  toInclusionProof,
  verifyInclusion,
} from '../src/index.ts'
import { bytesOf, ok, pieceOfHeight } from './samples.ts'

const pieces = [9, 8, 8, 4, 2].map((height, n) => pieceOfHeight(height, n))
const built = ok(buildAggregate({ pieces, size: 2 ** 20 }))
const aggregate = built.link
const piece = pieces[2]!
const inclusion = built.proof(2)
const { subtree, index } = inclusion

describe('an inclusion', () => {
  it('proves for each piece that it is in the aggregate', () => {
    for (const [i, piece] of pieces.entries()) {
      expect(verifyInclusion({ piece, aggregate, inclusion: built.proof(i) }).ok).toEqual({})
    }
  })

  it('is an InclusionProof of the published library', () => {
    const resolved = Library.resolveAggregate(toInclusionProof(inclusion), piece)
    expect(`${resolved.ok}`).toBe(`${aggregate}`)
  })

  it('is encoded with plain integers as offsets', () => {
    const asNumbers = { subtree: [Number(subtree[0]), subtree[1]], index: [Number(index[0]), index[1]] }
    const bytes = IPLD.CBOR.encode(inclusion)
    expect(bytes).toEqual(IPLD.CBOR.encode(asNumbers))

    const received = IPLD.CBOR.decode(bytes)
    expect(received).toEqual(asNumbers)
    expect(verifyInclusion({ piece, aggregate, inclusion: received }).ok).toEqual({})
    expect(toInclusionProof(received)).toEqual([subtree, index])
  })

  it('has two paths, of the piece and of its entry, which both end at the root of the aggregate', () => {
    const { root, height } = ok(decodePiece(aggregate))
    for (const [i, piece] of pieces.entries()) {
      const paths = inclusionPaths({ piece, inclusion: built.proof(i) })
      const decoded = ok(decodePiece(piece))
      expect(paths.subtree.steps[0]?.node).toEqual(decoded.root)
      expect(paths.subtree.level).toBe(decoded.height)
      for (const path of [paths.subtree, paths.index]) {
        expect(path.root).toEqual(root)
        expect(path.level + path.steps.length).toBe(height)
      }
    }
    const { steps } = inclusionPaths({ piece: pieces[4]!, inclusion: built.proof(4) }).subtree
    expect(steps.map(({ isZero }) => isZero)).toContain(true)
    const forged = { subtree: [subtree[0], flipNode(subtree[1], 1)] as const, index }
    expect(inclusionPaths({ piece, inclusion: forged }).subtree.root).not.toEqual(root)
  })

  it('is a copy: writing to it does not change the aggregate', () => {
    built.proof(0).subtree[1][0]!.fill(0xff)
    expect(verifyInclusion({ piece: pieces[0]!, aggregate, inclusion: built.proof(0) }).ok).toEqual({})
  })
})

const node = bytesOf('node', 32)
const flipNode = (path: Uint8Array[], n: number) =>
  path.map((node, i) => (i === n ? node.map(byte => byte ^ 1) : node))

const expectRefusal = (inclusion: unknown, message: RegExp) => {
  const { ok, error } = verifyInclusion({ piece, aggregate, inclusion: inclusion as EncodedInclusion })
  expect(ok).toBeUndefined()
  expect(error).toMatchObject({ name: 'InvalidInclusion', message: expect.stringMatching(message) })
  // A service must not disclose stacks or the names of JavaScript's built-in errors.
  if (error?.cause) expect(error.cause).toEqual({ name: 'InvalidProof', message: expect.any(String) })
}

describe('an inclusion that proves something else', () => {
  const last = index[1].length - 1

  it.each<[string, unknown, RegExp]>([
    ['of another piece', built.proof(1), /proof is invalid/],
    [
      'with a subtree offset one further',
      { subtree: [subtree[0] + 1n, subtree[1]], index },
      /proof is invalid/,
    ],
    ['with an index offset one further', { subtree, index: [index[0] + 1n, index[1]] }, /proof is invalid/],
    [
      'with another first node',
      { subtree: [subtree[0], flipNode(subtree[1], 0)], index },
      /proof is invalid/,
    ],
    ['with another last node', { subtree, index: [index[0], flipNode(index[1], last)] }, /proof is invalid/],
    ['with one node too many', { subtree: [subtree[0], [...subtree[1], node]], index }, /proof is invalid/],
    ['with one node too few', { subtree: [0n, subtree[1].slice(1)], index }, /proof is invalid/],
    ['with its halves swapped', { subtree: index, index: subtree }, /wrong offset|proof is invalid/],
    ['with the index entry before the index', { subtree, index: [index[0] / 2n, index[1]] }, /wrong offset/],
    ['with an offset beyond the tree', { subtree: [2n ** 63n, subtree[1]], index }, /offset greater/],
    ['with an offset of a thousand bits', { subtree, index: [2n ** 1000n, index[1]] }, /offset greater/],
    ['with a negative offset', { subtree: [-1n, subtree[1]], index }, /offset greater/],
    ['with a negative index offset', { subtree, index: [-1, index[1]] }, /offset greater/],
    [
      'of depth 63',
      { subtree: [0n, Array(63).fill(node)], index: [2n ** 63n - 1n, Array(63).fill(node)] },
      /is invalid/,
    ],
    ['of depth 64', { subtree: [0n, Array(64).fill(node)], index }, /depths greater than 63/],
    ['of depth 100,000', { subtree, index: [0n, Array(100_000).fill(node)] }, /depths greater than 63/],
  ])('%s is refused', (_, inclusion, message) => expectRefusal(inclusion, message))
})

describe('an inclusion that is malformed', () => {
  const withSubtree = (subtree: unknown) => ({ subtree, index })
  const withNode = (node: unknown) => withSubtree([subtree[0], [node, ...subtree[1].slice(1)]])

  it.each<[string, unknown, RegExp]>([
    ['with a fraction as offset', withSubtree([0.5, subtree[1]]), /not an integer/],
    ['with an infinite offset', withSubtree([Number.POSITIVE_INFINITY, subtree[1]]), /not an integer/],
    ['with a number that is not exact', withSubtree([2 ** 60, subtree[1]]), /not an integer/],
    ['with text as offset', withSubtree(['1', subtree[1]]), /not an integer/],
    ['with a node of 31 bytes', withNode(node.subarray(1)), /not of 32 bytes/],
    ['with a node of 64 bytes', withNode(bytesOf('long', 64)), /not of 32 bytes/],
    ['with an empty node', withNode(new Uint8Array(0)), /not of 32 bytes/],
    ['with text as a node', withNode('node'.repeat(8)), /not of 32 bytes/],
    ['with null as a node', withNode(null), /not of 32 bytes/],
    ['with text as a path', withSubtree([subtree[0], 'path']), /not a list/],
    ['with three parts in a half', withSubtree([...subtree, 1]), /expected \[offset, path\]/],
    ['without an index half', { subtree }, /index entry is malformed/],
    ['that is the tuple of the library', [subtree, index], /subtree is malformed/],
    ['that is empty', {}, /subtree is malformed/],
    ['that is null', null, /subtree is malformed/],
    ['that is undefined', undefined, /subtree is malformed/],
    ['that is text', 'inclusion', /subtree is malformed/],
  ])('%s is refused', (_, inclusion, message) => expectRefusal(inclusion, message))
})

describe('a good inclusion proves nothing', () => {
  it('of another aggregate', () => {
    const { error } = verifyInclusion({ piece, aggregate: pieceOfHeight(15, 'other'), inclusion })
    expect(error?.message).toContain(`leads to ${aggregate}, not to`)
  })

  it('of a link that is not a piece link', () => {
    const { error } = verifyInclusion({ piece: CID.parse('bafkqaaa'), aggregate, inclusion })
    expect(error).toMatchObject({ name: 'InvalidInclusion', cause: { name: 'InvalidPieceCID' } })
  })
})
