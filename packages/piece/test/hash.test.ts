import { Piece } from '@web3-storage/data-segment'
import * as Multihash from '@web3-storage/data-segment/multihash'
import fc from 'fast-check'
import { create as createPublished } from 'fr32-sha2-256-trunc254-padded-binary-tree-multihash'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { describe, expect, it } from 'vitest'
import { createHasher, pieceOf, pieceOfZeros } from '../src/index.ts'
import { native, type Sha256, wasm } from '../src/sha256.ts'
import { bytesOf } from './samples.ts'

const linkOf = (content: Uint8Array, backend: Sha256 = wasm) =>
  `${createHasher({ backend }).write(content).digest()}`

/** The link that the published hasher, compiled from Rust, computes. */
const publishedLinkOf = (content: Uint8Array): string => {
  const hasher = createPublished()
  hasher.write(content)
  const multihash = new Uint8Array(hasher.multihashByteLength())
  hasher.digestInto(multihash, 0, true)
  hasher.free()
  return `${CID.createV1(0x55, Digest.decode(multihash))}`
}

/** Stretches of bytes, of the given lengths: the first of zeros, the second of ones, then of twos, … */
const stretches = (...lengths: number[]) =>
  Uint8Array.from(lengths.flatMap((length, value) => Array(length).fill(value)))

// The test cases of https://github.com/filecoin-project/FIPs/blob/master/FRCs/frc-0069.md
const published: [string, Uint8Array, string][] = [
  ['nothing', new Uint8Array(0), 'bafkzcibcp4bdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmy'],
  ['127 zeros', new Uint8Array(127), 'bafkzcibcaabdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmy'],
  ['128 zeros', new Uint8Array(128), 'bafkzcibcpybwiktap34inmaex4wbs6cghlq5i2j2yd2bb2zndn5ep7ralzphkdy'],
  [
    '127 each of 0, 1, 2 and 3',
    stretches(127, 127, 127, 127),
    'bafkzcibcaaces3nobte6ezpp4wqan2age2s5yxcatzotcvobhgcmv5wi2xh5mbi',
  ],
  [
    'the same and 4 × 127 zeros',
    new Uint8Array([...stretches(127, 127, 127, 127), ...new Uint8Array(508)]),
    'bafkzcibcaac542av3szurbbscwuu3zjssvfwbpsvbjf6y3tukvlgl2nf5rha6pa',
  ],
  [
    'the same and 4 zeros',
    new Uint8Array([...stretches(127, 127, 127, 127), ...new Uint8Array(4)]),
    'bafkzcibd7abqlxticxolgseegik2stpfgkkuwyf6kufex3doorkvmzpjuxwe4dz4',
  ],
  [
    'the same and 5 zeros',
    new Uint8Array([...stretches(127, 127, 127, 127), ...new Uint8Array(5)]),
    'bafkzcibd64bqlxticxolgseegik2stpfgkkuwyf6kufex3doorkvmzpjuxwe4dz4',
  ],
]

const powers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => 2 ** (from + n))
const around = (sizes: number[]) => sizes.flatMap(size => [size - 1, size, size + 1])

/** Sizes around the limits of pieces, quads and blocks (2048 quads). */
const edges = [
  ...new Set([
    ...[0, 1, 2, 31, 32, 33, 63, 64, 65, 66],
    ...around(powers(7, 20)),
    ...around(powers(0, 14).map(quads => quads * 127)),
    ...around([3, 5, 6, 7].map(blocks => blocks * 2048 * 127)),
  ]),
].sort((a, b) => a - b)

describe.each(native ? [native, wasm] : [wasm])('piece links of content, $name SHA-256', backend => {
  it.each(published)('of %s', (_, content, expected) => {
    expect(linkOf(content, backend)).toBe(expected)
  })

  it('are those of the published hasher, on edge sizes', () => {
    for (const size of edges) {
      const content = bytesOf(size, size)
      expect([size, linkOf(content, backend)]).toEqual([size, publishedLinkOf(content)])
    }
  })

  it('are those of the published hasher, on any size', () => {
    fc.assert(
      fc.property(fc.nat({ max: 600_000 }), fc.integer(), (size, seed) => {
        const content = bytesOf(seed, size)
        expect(linkOf(content, backend)).toBe(publishedLinkOf(content))
      }),
      { seed: 69, numRuns: 25 },
    )
  })

  it('do not depend on how the content is cut', () => {
    const content = bytesOf('cut', 1_500_000)
    const expected = publishedLinkOf(content)
    for (const chunkSize of [1, 126, 127, 128, 254, 1000, 65_536, 260_095, 260_096, 260_097]) {
      const hasher = createHasher({ backend })
      for (let at = 0; at < content.length; at += chunkSize)
        hasher.write(content.subarray(at, at + chunkSize))
      expect([chunkSize, `${hasher.digest()}`]).toEqual([chunkSize, expected])
      expect(hasher.bytes).toBe(content.length)
    }
  })
})

describe('content of fewer than 127 bytes', () => {
  // Filecoin's proofs are defined from 65 bytes on. FRC-0069 and both published hashers pad shorter content.
  it.each([0, 1, 12, 64, 65, 126])('is padded: %i bytes', size => {
    const content = bytesOf(size, size)
    const piece = Piece.fromString(linkOf(content))
    expect(piece).toMatchObject({ height: 2, padding: BigInt(127 - size) })
    expect(`${piece.link}`).toBe(`${Piece.fromDigest(Multihash.digest(content)).link}`)
    expect(`${piece.link}`).toBe(publishedLinkOf(content))
  })
})

it.each([0, 1, 126, 127, 128, 254, 255, 1_000_000, 127 * 2 ** 13])(
  '%i zeros have their piece without being hashed',
  size => {
    expect(`${pieceOfZeros(size)}`).toBe(publishedLinkOf(new Uint8Array(size)))
  },
)

describe('a hasher', () => {
  it('continues after a digest as if there had been none', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 300_000 }), { minLength: 1, maxLength: 5 }), sizes => {
        const content = bytesOf(
          `${sizes}`,
          sizes.reduce((sum, size) => sum + size),
        )
        const hasher = createHasher()
        let at = 0
        for (const size of sizes) {
          hasher.write(content.subarray(at, at + size))
          at += size
          expect(`${hasher.digest()}`).toBe(publishedLinkOf(content.subarray(0, at)))
          expect(`${hasher.digest()}`).toBe(`${hasher.digest()}`)
        }
      }),
      { seed: 127, numRuns: 20 },
    )
  })

  it('keeps no reference to the bytes written to it', () => {
    const content = bytesOf('reused', 1000)
    const buffer = new Uint8Array(100)
    const hasher = createHasher()
    for (let at = 0; at < content.length; at += buffer.length) {
      buffer.set(content.subarray(at, at + buffer.length))
      hasher.write(buffer)
    }
    buffer.fill(0)
    expect(`${hasher.digest()}`).toBe(publishedLinkOf(content))
  })

  it('reads only its part of a larger buffer', () => {
    const buffer = bytesOf('larger', 2000)
    expect(linkOf(buffer.subarray(500, 1500))).toBe(publishedLinkOf(buffer.slice(500, 1500)))
  })
})

describe('pieceOf', () => {
  const chunks = [bytesOf('a', 300_000), new Uint8Array(0), bytesOf('b', 1), bytesOf('c', 500_000)]
  const expected = { link: publishedLinkOf(Buffer.concat(chunks)), bytes: 800_001 }

  it.each([
    ['a list of chunks', chunks],
    ['a stream', new Blob(chunks.map(chunk => Uint8Array.from(chunk))).stream()],
    [
      'an async generator',
      (async function* () {
        yield* chunks
      })(),
    ],
  ])('reads %s', async (_, source) => {
    const { link, bytes } = await pieceOf(source)
    expect({ link: `${link}`, bytes }).toEqual(expected)
  })

  it('reports its progress', async () => {
    const progress: number[] = []
    await pieceOf(chunks, { onProgress: bytes => progress.push(bytes) })
    expect(progress).toEqual([300_000, 300_000, 300_001, 800_001])
  })

  it('lets the event loop run other work, even within a large chunk', async () => {
    let turns = 0
    let timer: NodeJS.Immediate
    const turn = () => {
      turns++
      timer = setImmediate(turn)
    }
    timer = setImmediate(turn)
    await pieceOf([new Uint8Array(16 * 2 ** 20)], { backend: wasm })
    clearImmediate(timer)
    // 16 MiB take 100 ms or more in WebAssembly. Without a pause, the number of turns would be zero.
    expect(turns).toBeGreaterThan(4)
  })

  it('throws the error of its source unchanged', async () => {
    const source = (async function* () {
      yield new Uint8Array(10)
      throw new Error('connection lost')
    })()
    await expect(pieceOf(source)).rejects.toThrow('connection lost')
  })
})
