import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { padQuads, unpadQuads } from '../src/fr32.ts'
import {
  buildAggregate,
  createHasher,
  joinPieces,
  layOut,
  layout,
  type PieceLink,
  type Stretch,
  type Whole,
} from '../src/index.ts'
import { bytesOf, ok, pieceOfHeight } from './samples.ts'

const pieceOf = (content: Uint8Array): PieceLink => createHasher().write(content).digest()

/** Contents, and their aggregate. */
const aggregateOf = (size: number, lengths: readonly number[]) => {
  const contents = new Map<string, Uint8Array>()
  const pieces = lengths.map((length, n) => {
    const content = bytesOf(n, length)
    const piece = pieceOf(content)
    contents.set(`${piece}`, content)
    return piece
  })
  return { contents, aggregate: ok(buildAggregate({ pieces, size })) }
}

const toBytes = (stretch: Stretch, contents: ReadonlyMap<string, Uint8Array>): Uint8Array => {
  if (stretch.piece) {
    const content = contents.get(`${stretch.piece}`)!
    return content.subarray(stretch.from, stretch.from + stretch.length)
  }
  return stretch.bytes ?? new Uint8Array(stretch.length)
}

const read = (
  whole: Whole,
  contents: ReadonlyMap<string, Uint8Array>,
  from = 0,
  to = whole.length,
): Uint8Array => Buffer.concat([...whole.stretches(from, to)].map(stretch => toBytes(stretch, contents)))

describe('the payload of an aggregate', () => {
  const cases: [string, size: number, lengths: number[]][] = [
    ['two small pieces', 512, [100, 5]],
    ['one piece', 1 << 12, [1_016]],
    ['one piece that is empty', 512, [0]],
    ['pieces of many sizes', 1 << 20, [1_000, 127, 1, 65_000, 200_000, 126, 128, 3_000]],
    ['32 pieces', 1 << 22, Array.from({ length: 32 }, (_, n) => 1 + n * 2_111)],
  ]
  it.each(cases)('has the aggregate as its piece: %s', (_, size, lengths) => {
    const { aggregate, contents } = aggregateOf(size, lengths)
    const whole = ok(layOut({ pieces: aggregate.pieces, size }))
    expect(whole.length).toBe((size / 128) * 127)
    expect(`${pieceOf(read(whole, contents))}`).toBe(`${aggregate.link}`)
  })

  it('has the aggregate as its piece if it is hashed in parts, whatever their size', () => {
    const { aggregate, contents } = aggregateOf(1 << 20, [1_000, 127, 1, 65_000, 200_000, 126, 128, 3_000])
    const whole = ok(layOut({ pieces: aggregate.pieces, size: 1 << 20 }))
    for (const part of [1_017, 64 * 1024, 1 << 19]) {
      const hasher = createHasher()
      for (let at = 0; at < whole.length; at += part)
        hasher.write(read(whole, contents, at, Math.min(at + part, whole.length)))
      expect(`${hasher.digest()}`).toBe(`${aggregate.link}`)
    }
  })

  it('has the aggregate as the piece that the pieces of its parts make', () => {
    const { aggregate, contents } = aggregateOf(1 << 20, [1_000, 127, 1, 65_000, 200_000, 126, 128, 3_000])
    const whole = ok(layOut({ pieces: aggregate.pieces, size: 1 << 20 }))
    for (const count of [1, 2, 16, 128]) {
      const part = whole.length / count
      const parts = Array.from({ length: count }, (_, n) =>
        pieceOf(read(whole, contents, n * part, (n + 1) * part)),
      )
      expect(`${joinPieces(parts)}`).toBe(`${aggregate.link}`)
    }
  })

  it('is not joined from parts that are not full, of several sizes, or not a power of two', () => {
    const [full, long, short] = [127, 254, 100].map(length => pieceOf(bytesOf(length, length))) as [
      PieceLink,
      PieceLink,
      PieceLink,
    ]
    for (const parts of [[], [full, full, full], [full, long], [full, short], [short]])
      expect(() => joinPieces(parts)).toThrow(RangeError)
  })

  it('has the aggregate as its piece if every entry of the index is used: 8,192 pieces in 1 GiB', () => {
    const lengths = Array.from({ length: 8_192 }, (_, n) => 1 + (n % 300))
    const { aggregate, contents } = aggregateOf(1 << 30, lengths)
    const whole = ok(layOut({ pieces: aggregate.pieces, size: 1 << 30 }))
    const hasher = createHasher()
    const part = 127 << 17
    for (let at = 0; at < whole.length; at += part)
      hasher.write(read(whole, contents, at, Math.min(at + part, whole.length)))
    expect(`${hasher.digest()}`).toBe(`${aggregate.link}`)
  })

  it('consists of stretches without gaps: those of a part are those of the whole', () => {
    const { aggregate, contents } = aggregateOf(1 << 20, [1_000, 127, 1, 9_000, 126, 128, 3_000])
    const whole = ok(layOut({ pieces: aggregate.pieces, size: 1 << 20 }))
    const bytes = read(whole, contents)
    fc.assert(
      fc.property(fc.nat(whole.length), fc.nat(whole.length), (a, b) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)]
        const stretches = [...whole.stretches(from, to)]
        expect(stretches.reduce((sum, { length }) => sum + length, 0)).toBe(to - from)
        expect(stretches.every(({ length }) => length > 0)).toBe(true)
        expect(Buffer.from(read(whole, contents, from, to)).equals(bytes.subarray(from, to))).toBe(true)
      }),
    )
  })

  it('is found without reading what lies before: any stretch of 32 GiB with 200,000 pieces', () => {
    const pieces = layout(Array.from({ length: 200_000 }, (_, n) => pieceOfHeight(12, n, BigInt(n % 1_000))))
    const whole = ok(layOut({ pieces, size: 2 ** 35 }))
    const at = 127 * 1024 * 150_000
    expect([...whole.stretches(at, at + 130_048)]).toEqual([
      { length: 130_048, piece: pieces[150_000], from: 0 },
    ])
    const [index] = whole.stretches(whole.length - (16 * 1024 * 1024 * 127) / 128, whole.length)
    expect(index).toMatchObject({ length: (200_000 * 64 * 127) / 128 })
  })

  it('has no bytes outside of it, and none if the pieces do not fit', () => {
    const whole = ok(layOut({ pieces: [pieceOfHeight(2, 'a')], size: 512 }))
    for (const [from, to] of [
      [-1, 5],
      [5, 4],
      [0, 509],
      [0.5, 1],
    ] as const)
      expect(() => [...whole.stretches(from, to)]).toThrow(RangeError)
    expect([...whole.stretches(7, 7)]).toEqual([])
    expect(layOut({ pieces: [pieceOfHeight(4, 'a')], size: 512 }).error).toMatchObject({
      name: 'InvalidPiece',
    })
  })
})

it('removing the bits of Fr32 padding reverses it', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), fc.nat(), (quads, seed) => {
      const payload = bytesOf(seed, quads * 127)
      const source = new Uint8Array(payload.byteLength + 1)
      source.set(payload)
      const padded = new Int32Array(quads * 32)
      padQuads(new DataView(source.buffer), 0, padded, 0, quads)
      expect(Buffer.from(unpadQuads(new Uint8Array(padded.buffer))).equals(payload)).toBe(true)
    }),
  )
})
