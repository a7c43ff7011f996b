/** The first four bytes of a zstd frame, and of a skippable frame, as little-endian numbers (RFC 8878, section 3.1). */
const FRAME_MAGIC = 0xfd2fb528
const SKIPPABLE_MAGIC = 0x184d2a50
/** The last four bits of the magic number of a skippable frame are free. */
const SKIPPABLE_MASK = 0xfffffff0

/** Whether a file that starts with these bytes is compressed with zstd. */
export const isZstd = (start: Buffer): boolean => {
  if (start.length < 4) return false
  const magic = start.readUInt32LE()
  return magic === FRAME_MAGIC || isSkippable(magic)
}

/**
 * Splits a file of zstd frames into chunks that never hold bytes of two frames. Node's decompressor reads every frame of
 * a file that is split in this way. Otherwise it stops after the frame that ends within a chunk, without an error.
 *
 * The decompressor checks the contents of the frames. This function only walks along their lengths, and holds a chunk at
 * a time.
 */
export async function* splitFrames(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const walk = walkFrames()
  let step = walk.next().value
  /** Bytes of the present step that earlier chunks had, and those of them that the walk reads. */
  let passed = 0
  let collected = Buffer.alloc(0)
  for await (const chunk of chunks) {
    let start = 0
    let at = 0
    while (at < chunk.length) {
      const end = Math.min(chunk.length, at + step.bytes - passed)
      if (step.isRead) collected = Buffer.concat([collected, chunk.subarray(at, end)])
      passed += end - at
      at = end
      while (passed === step.bytes) {
        if (step.endsFrame) {
          yield chunk.subarray(start, at)
          start = at
        }
        step = walk.next(collected).value
        passed = 0
        collected = Buffer.alloc(0)
      }
    }
    if (start < at) yield chunk.subarray(start, at)
  }
}

/** A part of a file: its length, whether the walk needs its bytes, and whether it is the last part of its frame. */
interface Step {
  bytes: number
  isRead?: boolean
  endsFrame?: boolean
}

/** Walks along the parts of all frames. It receives the bytes of the steps that ask for them. */
function* walkFrames(): Generator<Step, never, Buffer> {
  for (;;) {
    const magic = (yield read(4)).readUInt32LE()
    if (isSkippable(magic)) {
      yield { bytes: (yield read(4)).readUInt32LE(), endsFrame: true }
      continue
    }
    if (magic !== FRAME_MAGIC)
      throw new Error('The file has bytes between two zstd frames, or behind the last one')
    const descriptor = (yield read(1)).readUInt8()
    yield { bytes: frameHeaderBytes(descriptor) }
    for (let isLast = false; !isLast; ) {
      const header = (yield read(3)).readUIntLE(0, 3)
      isLast = (header & 1) === 1
      // A block of type 1 is one byte that is repeated. The decompressor refuses the reserved type 3.
      const isRepeated = ((header >> 1) & 3) === 1
      yield { bytes: isRepeated ? 1 : header >> 3 }
    }
    // The checksum.
    yield { bytes: ((descriptor >> 2) & 1) * 4, endsFrame: true }
  }
}

const read = (bytes: number): Step => ({ bytes, isRead: true })

/** Length of a frame's header without magic number and descriptor: window, dictionary id and content size. */
const frameHeaderBytes = (descriptor: number): number => {
  const isSingleSegment = (descriptor >> 5) & 1
  const windowBytes = 1 - isSingleSegment
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] as number
  const contentSizeBytes = [isSingleSegment, 2, 4, 8][descriptor >> 6] as number
  return windowBytes + dictionaryBytes + contentSizeBytes
}

const isSkippable = (magic: number): boolean => (magic & SKIPPABLE_MASK) >>> 0 === SKIPPABLE_MAGIC
