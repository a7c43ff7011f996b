import { createHash } from 'node:crypto'
import { Fr32, ZeroComm } from '@web3-storage/data-segment'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { padQuads } from '../src/fr32.ts'
import { hashLevel, hashPair, zeroCommitment } from '../src/merkle.ts'
import { native, sha256, wasm } from '../src/sha256.ts'
import { bytesOf } from './samples.ts'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

describe.each(native ? [native, wasm] : [wasm])('SHA-256, $name', backend => {
  // One pair, and numbers around the batches of four or more that the backends hash at a time.
  it.each([0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 1000])(
    'hashes %i pairs as Node does, without the two highest bits',
    pairs => {
      const level = bytesOf(pairs, 64 * pairs)
      const above = new Uint8Array(32 * pairs)
      hashLevel(level, above, backend)
      for (let n = 0; n < pairs; n++) {
        const digest = createHash('sha256')
          .update(level.subarray(64 * n, 64 * n + 64))
          .digest()
        digest[31]! &= 0b0011_1111
        expect(hex(above.subarray(32 * n, 32 * n + 32))).toBe(hex(digest))
      }
    },
  )
})

it('the default is the fastest available backend', () => {
  expect(sha256).toBe(native ?? wasm)
})

describe('zero commitments', () => {
  // https://docs.rs/crate/fvm_shared/latest/source/src/piece/zero.rs, from 128 bytes (height 2) on
  it.each([
    [2, '3731bb99ac689f66eef5973e4a94da188f4ddcae580724fc6f3fd60dfd488333'],
    [3, '642a607ef886b004bf2c1978463ae1d4693ac0f410eb2d1b7a47fe205e5e750f'],
    [4, '57a2381a28652bf47f6bef7aca679be4aede5871ab5cf3eb2c08114488cb8526'],
    [5, '1f7ac9595510e09ea41c460b176430bb322cd6fb412ec57cb17d989a4310372f'],
    // The root of https://github.com/filecoin-project/FIPs/blob/master/FRCs/frc-0069.md's empty 32 GiB piece
    [30, '077e5fde35c50a9303a55009e3498a4ebedff39c42b710b730d8ec7ac7afa63e'],
  ])('of height %i', (height, expected) => {
    expect(hex(zeroCommitment(height))).toBe(expected)
  })

  it('equal those of the published library', () => {
    for (let height = 0; height < 64; height++) {
      expect(hex(zeroCommitment(height))).toBe(hex(ZeroComm.fromLevel(height)))
    }
  })

  it('are hashes of zeros', () => {
    expect(hex(zeroCommitment(1))).toBe(hex(hashPair(new Uint8Array(32), new Uint8Array(32))))
  })
})

describe('Fr32 padding', () => {
  it('equals that of the published library', () => {
    fc.assert(
      fc.property(fc.nat({ max: 4 }), fc.nat({ max: 200 }), fc.integer(), (log2Quads, from, seed) => {
        const quads = 2 ** log2Quads
        const source = bytesOf(seed, from + quads * 127 + 1)
        const padded = new Uint8Array(quads * 128)
        padQuads(new DataView(source.buffer), from, new Int32Array(padded.buffer), 0, quads)
        expect(hex(padded)).toBe(hex(Fr32.pad(source.subarray(from, from + quads * 127))))
      }),
      { seed: 58, numRuns: 100 },
    )
  })

  it('does not depend on the byte after a quad', () => {
    const [zero, one] = [0x00, 0xff].map(behind => {
      const source = new Uint8Array([...bytesOf('quad', 127), behind])
      const padded = new Int32Array(32)
      padQuads(new DataView(source.buffer), 0, padded, 0, 1)
      return padded
    })
    expect(zero).toEqual(one)
  })
})
