import { Piece as LibraryPiece } from '@web3-storage/data-segment'
import { varint } from 'multiformats'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { describe, expect, it } from 'vitest'
import { decodePiece, encodePiece, fromV1, parsePiece, toV1 } from '../src/index.ts'
import { ok, rootOf, v1 } from './samples.ts'

// From the test cases of https://github.com/filecoin-project/FIPs/blob/master/FRCs/frc-0069.md
const published = [
  {
    of: 'the empty 32 GiB piece',
    v2: 'bafkzcibcaapao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq',
    v1: 'baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq',
    height: 30,
    padding: 0n,
    size: 32 * 2 ** 30,
  },
  {
    of: 'the empty 64 GiB piece',
    v2: 'bafkzcibcaap6mqafu276g53zko4k23xzh4h4uecjwicbmvhsuqi7o4bhthhm4aq',
    v1: 'baga6ea4seaqomqafu276g53zko4k23xzh4h4uecjwicbmvhsuqi7o4bhthhm4aq',
    height: 31,
    padding: 0n,
    size: 64 * 2 ** 30,
  },
  {
    of: '127 × 4 bytes',
    v2: 'bafkzcibcaaces3nobte6ezpp4wqan2age2s5yxcatzotcvobhgcmv5wi2xh5mbi',
    v1: 'baga6ea4seaqes3nobte6ezpp4wqan2age2s5yxcatzotcvobhgcmv5wi2xh5mbi',
    height: 4,
    padding: 0n,
    size: 512,
  },
  {
    of: '128 × 4 bytes, so that a third byte of padding length is needed',
    v2: 'bafkzcibd7abqlxticxolgseegik2stpfgkkuwyf6kufex3doorkvmzpjuxwe4dz4',
    v1: 'baga6ea4seaqn42av3szurbbscwuu3zjssvfwbpsvbjf6y3tukvlgl2nf5rha6pa',
    height: 5,
    padding: 504n,
    size: 1024,
  },
]

describe('a piece link', () => {
  it.each(published)('of $of decodes to height, padding and size', ({ v2, height, padding, size }) => {
    const piece = ok(parsePiece(v2))
    expect(piece).toMatchObject({ height, padding, size })
    expect(piece.root).toEqual(LibraryPiece.fromString(v2).root)
    expect(`${piece.link}`).toBe(v2)
    expect(`${encodePiece(piece)}`).toBe(v2)
  })

  it.each(published)('of $of has the v1 CID that the chain knows', vector => {
    const { root, log2Size } = ok(toV1(CID.parse(vector.v2)))
    expect(`${root}`).toBe(vector.v1)
    expect(2 ** log2Size).toBe(vector.size)
  })

  it.each(published.filter(_ => _.padding === 0n))('of $of is restored from the v1 CID', vector => {
    expect(`${ok(fromV1(v1(vector.v1), Math.log2(vector.size)))}`).toBe(vector.v2)
  })

  it('equals that of the published library', () => {
    for (const [height, padding] of [
      [2, 0n],
      [2, 127n],
      [3, 126n],
      [20, 127n],
      [20, 128n],
      [30, 16384n],
      [40, 2n ** 40n],
      [48, 2n ** 52n],
    ] as const) {
      const piece = { root: rootOf(height), height, padding }
      const link = encodePiece(piece)
      expect(`${link}`).toBe(`${LibraryPiece.toLink(piece)}`)
      expect(ok(decodePiece(link))).toMatchObject(piece)
    }
  })
})

const link = (digest: Iterable<number>, { codec = 0x55, multihash = 0x1011 } = {}) =>
  CID.createV1(codec, Digest.create(multihash, Uint8Array.from(digest)))
const uvarint = (value: number) => varint.encodeTo(value, new Uint8Array(varint.encodingLength(value)))
const root = rootOf('some piece')

describe('not a piece link', () => {
  it.each([
    ['another codec', link([0, 2, ...root], { codec: 0x71 }), /raw codec/],
    ['another multihash', link(root, { multihash: 0x12 }), /multihash 0x1011, not 0x12/],
    ['a piece CID v1', v1(published[0]!.v1), /raw codec/],
    ['no padding', link([2, ...root]), /not 33/],
    ['an empty digest', link([]), /not 0/],
    ['an endless padding', link([...Array(9).fill(0x80), 2, ...root]), /not 42/],
    ['a root that is too short', link([0, 2, ...root.subarray(1)]), /not 33/],
    ['a byte too many', link([0, 2, ...root, 0]), /behind the padding/],
    ['padding that continues into the height', link([0x80, 2, ...root]), /shortest form/],
    ['padding in a longer form than necessary', link([0x85, 0x00, 3, ...root]), /shortest form/],
    ['a height of 1', link([0, 1, ...root]), /height from 2 to 48, not 1/],
    ['a height of 49', link([0, 49, ...root]), /height from 2 to 48, not 49/],
    ['a height of 255', link([0, 255, ...root]), /not 255/],
    ['more padding than a piece is large', link([...uvarint(128), 2, ...root]), /leaves no payload/],
    ['nothing but padding', link([...uvarint(254), 3, ...root]), /leaves no payload/],
    ['a root of 255 bits', link([0, 2, ...root.subarray(0, 31), 0x40]), /254 bits/],
  ])('%s', (_, link, message) => {
    const { error } = decodePiece(link)
    expect(error).toMatchObject({
      name: 'InvalidPieceCID',
      message: expect.stringMatching(message),
      piece: link,
    })
    expect(toV1(link).error).toEqual(error)
  })

  it('a CIDv0', () => {
    const v0 = CID.createV0(Digest.create(0x12, rootOf('v0')))
    expect(decodePiece(v0).error?.name).toBe('InvalidPieceCID')
  })

  it.each(['', 'piece', 'bafkzcib', `${published[0]!.v2}a`])('the text %j', text => {
    expect(parsePiece(text).error?.name).toBe('InvalidPieceCID')
  })

  it.each([
    ['a size below that of the smallest piece', v1(published[0]!.v1), 6],
    ['a size that is not a power of two', v1(published[0]!.v1), 35.5],
    ['no size', v1(published[0]!.v1), Number.NaN],
    ['a piece CID v2 instead of v1', CID.parse(published[0]!.v2), 35],
    ['a v1 root of 255 bits', link([...root.subarray(1), 0xff], { codec: 0xf101, multihash: 0x1012 }), 35],
  ])('from the chain: %s', (_, root, log2Size) => {
    expect(fromV1(root, log2Size).error).toMatchObject({ name: 'InvalidPieceCID', piece: root })
  })
})
