import { hash } from 'node:crypto'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { constants, createZstdDecompress, zstdCompressSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { isZstd, splitFrames } from '../src/sources/zstd-frames.ts'

/** Builds a skippable frame, which has data for other programs. */
const skippable = (length: number, type = 0): Buffer => {
  const frame = Buffer.alloc(8 + length, 0x28)
  frame.writeUInt32LE(0x184d2a50 + type)
  frame.writeUInt32LE(length, 4)
  return frame
}

/** Texts of all kinds of blocks: repeated bytes, compressed, and random ones that do not compress. */
const random = Buffer.concat(Array.from({ length: 9000 }, (_, n) => hash('sha256', `${n}`, 'buffer')))
const parts = [
  Buffer.from('first '),
  Buffer.from('second '),
  Buffer.alloc(400_000, 'a'),
  random,
  Buffer.from('last'),
]
const frames = parts.map((part, n) =>
  zstdCompressSync(part, {
    params: {
      [constants.ZSTD_c_checksumFlag]: n % 2,
      [constants.ZSTD_c_contentSizeFlag]: n % 3 === 0 ? 0 : 1,
    },
    ...(n % 3 === 0 ? {} : { pledgedSrcSize: part.length }),
  }),
)

function* cut(file: Buffer, bytes: number): Generator<Uint8Array> {
  for (let at = 0; at < file.length; at += bytes) yield file.subarray(at, at + bytes)
}

const decompress = async (file: Buffer, chunkBytes = file.length): Promise<Buffer> => {
  const chunks = splitFrames(Readable.from(cut(file, chunkBytes)))
  const decompressed = Readable.from(chunks).compose(createZstdDecompress()) as unknown as Readable
  return buffer(decompressed)
}

describe('B4: a file of zstd frames', () => {
  it.each([
    ['one frame', frames.slice(0, 1), parts.slice(0, 1)],
    ['several frames', frames, parts],
    ['several small frames', [skippable(2), frames[0]!, frames[1]!], parts.slice(0, 2)],
    ['a leading skippable frame', [skippable(5), ...frames], parts],
    [
      'skippable frames of all types and lengths',
      [skippable(0, 15), frames[2]!, skippable(70_000, 7), frames[4]!, skippable(1)],
      [parts[2]!, parts[4]!],
    ],
  ])('is read whole: %s', async (_, file, expected) => {
    const bytes = Buffer.concat(file)
    for (const chunkBytes of bytes.length < 1000 ? [1, 7, bytes.length] : [4093, bytes.length])
      expect((await decompress(bytes, chunkBytes)).equals(Buffer.concat(expected))).toBe(true)
  })

  it('is the reason to split it: Node reads only the first of several frames in a chunk', async () => {
    const stream = createZstdDecompress()
    stream.end(Buffer.concat([frames[0]!, frames[4]!]))
    expect(`${await buffer(stream)}`).toBe('first ')
  })

  it.each([
    ['a truncated frame', Buffer.concat([frames[0]!, frames[4]!.subarray(0, -2)])],
    ['a truncated header', Buffer.concat([frames[0]!, frames[4]!.subarray(0, 3)])],
    ['other bytes between its frames', Buffer.concat([frames[0]!, Buffer.from('junk'), frames[4]!])],
    [
      'a frame of a wrong checksum',
      Buffer.concat([frames[0]!, frames[3]!.subarray(0, -4), Buffer.alloc(4, 7), frames[4]!]),
    ],
  ])('is refused with %s', async (_, file) => {
    await expect(decompress(file)).rejects.toThrow()
  })

  it('is recognized by its first bytes', () => {
    expect(isZstd(frames[0]!)).toBe(true)
    expect(isZstd(skippable(3, 15))).toBe(true)
    for (const start of ['', '{', '{"state_epoch"', '[\n[[', 'P*M'])
      expect(isZstd(Buffer.from(start))).toBe(false)
  })
})
