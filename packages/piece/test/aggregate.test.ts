import { type AggregateView, Aggregate as Library, Piece } from '@web3-storage/data-segment'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import { describe, expect, it } from 'vitest'
import {
  type Aggregate,
  buildAggregate,
  encodePiece,
  fromV1,
  type PieceLink,
  recompute,
  select,
  toInclusionProof,
  verifyInclusion,
} from '../src/index.ts'
import { native, wasm } from '../src/sha256.ts'
import { ok, pieceOfHeight, rootOf, v1 } from './samples.ts'

const MiB = 2 ** 20
const GiB = 2 ** 30

const publishedBuild = (pieces: readonly PieceLink[], size: number) =>
  Library.build({ pieces: pieces.map(Piece.fromLink), size: BigInt(size) as never })

/** A link with the size of an aggregate. `recompute` uses only the size. */
const anyAggregate = (size: number) => pieceOfHeight(Math.log2(size) - 5, 'any')

const expectSameProofs = (aggregate: Aggregate, published: AggregateView) => {
  for (const [i, piece] of aggregate.pieces.entries()) {
    expect(toInclusionProof(aggregate.proof(i))).toEqual(ok(published.resolveProof(piece)))
  }
}

// Test vectors of go-data-segment, copied from the tests of the published library:
// https://github.com/web3-storage/data-segment/blob/7891a97bea41ed57d5b4f3a4e084101aa550cedf/test/aggregate.spec.js
const sample512KiB = ok(fromV1(v1('baga6ea4seaqae5ysjdbsr4b5jhotaz5ooh62jrrdbxwygfpkkfjz44kvywycmgy'), 19))
const sample256KiB = ok(fromV1(v1('baga6ea4seaqnrm2n2g4m23t6rs26obxjw2tjtr7tcho24gepj2naqhevytduyoa'), 18))
const goSamples = [256, 1024, 512, 512, 1024, 256, 512, 1024, 256, 512].map((MiBs, n) =>
  encodePiece({
    root: Uint8Array.from({ length: 32, 0: 0xd, 1: 0xe, 2: 0xa, 3: 0x1, 5: n }, byte => byte ?? 0),
    height: Math.log2((MiBs * MiB) / 32),
    padding: 0n,
  }),
)
const published = [
  {
    of: 'nothing',
    size: 32 * GiB,
    pieces: [],
    v1: 'baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq',
  },
  {
    of: 'one piece',
    size: MiB,
    pieces: [sample512KiB],
    v1: 'baga6ea4seaqko3i6w4rij37dqerctuv4kbakbcylpe6weeu3tjp26fqyd6txcjy',
  },
  {
    of: 'two pieces',
    size: MiB,
    pieces: [sample512KiB, sample256KiB],
    v1: 'baga6ea4seaqnqkeoqevjjjfe46wo2lpfclcbmkyms4wkz5srou3vzmr3w3c72bq',
  },
  {
    of: 'ten pieces with gaps between them',
    size: 32 * GiB,
    pieces: goSamples,
    v1: 'baga6ea4seaqd6rv4mrnqpi7kfqcpazxzhho7pytj3v3woh46dzq2hi3zpztfcjy',
  },
]

describe.each(native ? [native, wasm] : [wasm])('with $name SHA-256, an aggregate', backend => {
  it.each(published)('of $of equals that of go-data-segment', ({ pieces, size, v1: expected }) => {
    const link = ok(fromV1(v1(expected), Math.log2(size)))
    expect(`${ok(recompute(pieces, anyAggregate(size), { backend }))}`).toBe(`${link}`)
  })

  it('has the same root and proofs as that of the published library', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 9, max: 30 }),
        fc.array(fc.nat({ max: 12 }), { maxLength: 40 }),
        fc.integer(),
        (log2, heights, seed) => {
          const size = 2 ** log2
          const candidates = heights.map((h, i) => ({ piece: pieceOfHeight(2 + h, `${seed} ${i}`) }))
          const pieces = select(candidates, { size }).chosen.map(({ piece }) => piece)
          const aggregate = ok(buildAggregate({ pieces, size, backend }))
          const expected = publishedBuild(aggregate.pieces, size)
          expect(`${aggregate.link}`).toBe(`${expected.link}`)
          expect(aggregate).toMatchObject({ root: expected.root, height: expected.height, size })
          expectSameProofs(aggregate, expected)
        },
      ),
      { seed: 30, numRuns: 60 },
    )
  })
})

describe('an aggregate of 4,000 pieces', () => {
  const size = GiB
  const pieces = Array.from({ length: 4000 }, (_, n) => pieceOfHeight([2, 3, 3, 5, 7, 8, 11, 12][n % 8]!, n))

  it('has the same root and proofs as that of the published library', () => {
    const aggregate = ok(buildAggregate({ pieces, size }))
    const expected = publishedBuild(aggregate.pieces, size)
    expect(`${aggregate.link}`).toBe(`${expected.link}`)
    expectSameProofs(aggregate, expected)
    expect([...aggregate.proofs()]).toEqual(aggregate.pieces.map((_, i) => aggregate.proof(i)))
    expect([...aggregate.pieces].sort(byText)).toEqual([...pieces].sort(byText))
  })
})

const byText = (a: PieceLink, b: PieceLink) => `${a}`.localeCompare(`${b}`)

describe('an aggregate', () => {
  it('lays pieces out largest first, in whatever order they are supplied', () => {
    const pieces = [2, 9, 4, 9, 7].map((height, n) => pieceOfHeight(height, n))
    const aggregate = ok(buildAggregate({ pieces, size: MiB }))
    expect(aggregate.pieces).toEqual([1, 3, 4, 2, 0].map(n => pieces[n]))
    expect(aggregate.proof(1).subtree[0]).toBe(1n)
  })

  it('of 64 GiB, which the published tree does not support, has proofs that the published library accepts', () => {
    const pieces = [25, 30, 2, 12].map((height, n) => pieceOfHeight(height, n))
    const aggregate = ok(buildAggregate({ pieces, size: 64 * GiB }))
    for (const [i, piece] of aggregate.pieces.entries()) {
      expect(
        verifyInclusion({ piece, aggregate: aggregate.link, inclusion: aggregate.proof(i) }).error,
      ).toBeUndefined()
    }
  })

  it('contains at most as many pieces as its index has entries', () => {
    const pieces = Array.from({ length: 8 }, (_, n) => pieceOfHeight(2, n))
    const aggregate = ok(buildAggregate({ pieces, size: MiB }))
    expect(`${aggregate.link}`).toBe(`${publishedBuild(pieces, MiB).link}`)

    const ninth = pieceOfHeight(2, 'ninth')
    expect(buildAggregate({ pieces: [...pieces, ninth], size: MiB }).error).toMatchObject({
      name: 'InvalidPiece',
      cause: [{ name: 'InvalidPieceCID', piece: ninth, message: expect.stringContaining('No room') }],
    })
  })

  it('throws for the proof of a piece that it does not contain', () => {
    const aggregate = ok(buildAggregate({ pieces: [sample256KiB], size: MiB }))
    expect(() => aggregate.proof(1)).toThrow(RangeError)
    expect(() => aggregate.proof(-1)).toThrow(RangeError)
  })

  it('throws for a size that is not a power of two', () => {
    expect(() => buildAggregate({ pieces: [], size: MiB + 1 })).toThrow(RangeError)
  })
})

describe('recomputing an aggregate', () => {
  it('returns the link that the published builder returns, for pieces in any order', () => {
    const outcomes = { fits: 0, doesNot: 0 }
    fc.assert(
      fc.property(
        fc.integer({ min: 10, max: 26 }),
        fc.array(fc.nat({ max: 8 }), { minLength: 1, maxLength: 30 }),
        fc.integer(),
        (log2, heights, seed) => {
          const size = 2 ** log2
          const pieces = heights.map((h, i) => pieceOfHeight(2 + h, `${seed} ${i}`))
          let expected: AggregateView | undefined
          try {
            expected = publishedBuild(pieces, size)
            outcomes.fits++
          } catch {
            outcomes.doesNot++
          }
          const { ok: link, error } = recompute(pieces, anyAggregate(size))
          expect(link?.toString()).toBe(expected?.link.toString())
          expect(error?.name).toBe(expected ? undefined : 'InvalidPiece')
        },
      ),
      { seed: 3, numRuns: 150 },
    )
    expect(Math.min(outcomes.fits, outcomes.doesNot)).toBeGreaterThan(30)
  })

  it('returns a different link for another order, another piece or one piece fewer', () => {
    const pieces = [9, 9, 4].map((height, n) => pieceOfHeight(height, n))
    const { link } = ok(buildAggregate({ pieces, size: MiB }))
    const [a, b, c] = pieces as [PieceLink, PieceLink, PieceLink]
    expect(`${ok(recompute([a, b, c], link))}`).toBe(`${link}`)
    for (const others of [
      [b, a, c],
      [a, b, pieceOfHeight(4, 'other')],
      [a, b],
      [a, b, c, c],
    ]) {
      expect(`${ok(recompute(others, link))}`).not.toBe(`${link}`)
    }
  })

  it('names every invalid piece', () => {
    const good = pieceOfHeight(4, 'good')
    const tooLarge = pieceOfHeight(20, 'too large')
    const noPiece = CID.parse('bafkqaaa')
    expect(recompute([good, tooLarge, noPiece, good], anyAggregate(MiB)).error).toMatchObject({
      name: 'InvalidPiece',
      cause: [
        { name: 'InvalidPieceCID', piece: tooLarge },
        { name: 'InvalidPieceCID', piece: noPiece },
      ],
    })
  })

  it.each([
    ['a link that is not a piece link', CID.parse('bafkqaaa')],
    ['a piece with padding', encodePiece({ root: rootOf('padded'), height: 15, padding: 1n })],
    ['a piece too small for an index', pieceOfHeight(3, 'small')],
  ])('rejects %s as an aggregate', (_, aggregate) => {
    expect(recompute([], aggregate).error).toMatchObject({ name: 'InvalidPieceCID', piece: aggregate })
  })
})
