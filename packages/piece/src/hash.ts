import { yieldTurn } from '#platform'
import { padQuads, QUAD_PAYLOAD_SIZE, QUAD_SIZE } from './fr32.ts'
import { encodePiece, MIN_HEIGHT, type PieceLink, payloadSizeOf } from './link.ts'
import { hashLevel, hashPair, NODE_SIZE, zeroCommitment } from './merkle.ts'
import { type Sha256, sha256 } from './sha256.ts'

/**
 * Height of a block. Content is hashed in blocks of 2^11 quads, 256 KiB once padded: a block stays within the
 * processor's cache, and is large enough that the cost of a call is negligible.
 */
const BLOCK_HEIGHT = 13
const BLOCK_QUADS = 2 ** (BLOCK_HEIGHT - MIN_HEIGHT)
const BLOCK_SIZE = BLOCK_QUADS * QUAD_SIZE

/** Computes the piece link of content that is written to it chunk by chunk. */
export interface PieceHasher {
  /** Payload bytes written so far. */
  readonly bytes: number
  /** Hashes the next bytes of the content. It keeps no reference to them: the caller may overwrite them at once. */
  write(bytes: Uint8Array): this
  /** Returns the piece link of all bytes written so far. The caller may write more and call `digest` again. */
  digest(): PieceLink
}

/**
 * Creates a hasher of content of any size. It uses less than a megabyte of memory.
 *
 * Content of fewer than 127 bytes, even empty content, is padded with zeros to 127 bytes, the smallest payload of a
 * piece (FRC-0069). Filecoin's proofs require 65 bytes or more: a caller that must enforce this checks
 * {@link PieceHasher.bytes}.
 *
 * @example `${createHasher().write(new Uint8Array(127)).digest()}`
 * // bafkzcibcaabdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmy
 *
 * @see https://github.com/filecoin-project/FIPs/blob/master/FRCs/frc-0069.md
 */
export const createHasher = ({ backend = sha256 }: { backend?: Sha256 } = {}): PieceHasher =>
  new StreamingHasher(backend)

class StreamingHasher implements PieceHasher {
  bytes = 0
  readonly #backend: Sha256

  /** The payload of an unfinished quad, and one more byte because {@link padQuads} reads it. */
  readonly #quad = new DataView(new ArrayBuffer(QUAD_PAYLOAD_SIZE + 1))
  readonly #quadBytes = new Uint8Array(this.#quad.buffer)
  #quadLength = 0

  /** The quads of an unfinished block, padded. */
  readonly #block = new Uint8Array(BLOCK_SIZE)
  readonly #blockWords = new Int32Array(this.#block.buffer)
  #blockQuads = 0
  readonly #scratch = new Uint8Array(BLOCK_SIZE / 2)

  /** Roots of finished subtrees by height, at most one per height: the binary digits of the number of blocks. */
  readonly #roots: (Uint8Array | undefined)[] = []

  constructor(backend: Sha256) {
    this.#backend = backend
  }

  write(bytes: Uint8Array): this {
    this.bytes += bytes.length
    let at = 0
    if (this.#quadLength > 0) {
      at = Math.min(QUAD_PAYLOAD_SIZE - this.#quadLength, bytes.length)
      this.#keep(bytes.subarray(0, at))
    }
    const source = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    // Pad straight from the caller's bytes while one more byte follows the last quad: padQuads reads it.
    let quads = Math.floor((bytes.length - at - 1) / QUAD_PAYLOAD_SIZE)
    while (quads > 0) {
      const batch = Math.min(quads, BLOCK_QUADS - this.#blockQuads)
      this.#pad(source, at, batch)
      at += batch * QUAD_PAYLOAD_SIZE
      quads -= batch
    }
    if (at < bytes.length) this.#keep(bytes.subarray(at))
    return this
  }

  digest(): PieceLink {
    return linkOf(this.bytes, height => this.#root(height))
  }

  #keep(bytes: Uint8Array) {
    this.#quadBytes.set(bytes, this.#quadLength)
    this.#quadLength += bytes.length
    if (this.#quadLength === QUAD_PAYLOAD_SIZE) {
      this.#quadLength = 0
      this.#pad(this.#quad, 0, 1)
    }
  }

  #pad(source: DataView, from: number, quads: number) {
    padQuads(source, from, this.#blockWords, (this.#blockQuads * QUAD_SIZE) / 4, quads)
    this.#blockQuads += quads
    if (this.#blockQuads === BLOCK_QUADS) {
      this.#blockQuads = 0
      this.#addBlock(rootOf(this.#block, this.#scratch, BLOCK_HEIGHT, this.#backend))
    }
  }

  /** Adds one to the binary number whose digits are the roots. */
  #addBlock(block: Uint8Array) {
    let root = block
    let height = BLOCK_HEIGHT
    for (;;) {
      const left = this.#roots[height]
      if (left === undefined) break
      this.#roots[height] = undefined
      root = hashPair(left, root, this.#backend)
      height++
    }
    this.#roots[height] = root
  }

  /** Root of the tree of the given height over the content written so far, followed by zeros. */
  #root(height: number): Uint8Array {
    let last = this.#unfinishedRoot(Math.min(height, BLOCK_HEIGHT))
    for (let h = BLOCK_HEIGHT; h < height; h++) {
      const left = this.#roots[h]
      if (left) last = hashPair(left, last ?? zeroCommitment(h), this.#backend)
      else if (last) last = hashPair(last, zeroCommitment(h), this.#backend)
    }
    return last ?? this.#roots[height] ?? zeroCommitment(height)
  }

  /** Root over the unfinished block. It is computed on a copy, because more may be written to the block. */
  #unfinishedRoot(height: number): Uint8Array | undefined {
    if (this.#blockQuads === 0 && this.#quadLength === 0) return undefined
    const block = new Uint8Array(NODE_SIZE * 2 ** height)
    block.set(this.#block.subarray(0, this.#blockQuads * QUAD_SIZE))
    if (this.#quadLength > 0) {
      this.#quadBytes.fill(0, this.#quadLength)
      padQuads(this.#quad, 0, new Int32Array(block.buffer), (this.#blockQuads * QUAD_SIZE) / 4, 1)
    }
    return rootOf(block, this.#scratch, height, this.#backend)
  }
}

/** Root over `leaves`, 2^height nodes. Overwrites `leaves` and `scratch`, which is at least half as long. */
const rootOf = (leaves: Uint8Array, scratch: Uint8Array, height: number, backend: Sha256): Uint8Array => {
  let level = leaves
  let above = scratch
  for (let length = NODE_SIZE * 2 ** height; length > NODE_SIZE; length /= 2) {
    hashLevel(level.subarray(0, length), above.subarray(0, length / 2), backend)
    const free = level
    level = above
    above = free
  }
  return level.slice(0, NODE_SIZE)
}

/** Returns the link of the smallest piece that has room for so many bytes, with the root of the tree of its height. */
const linkOf = (bytes: number, rootAt: (height: number) => Uint8Array): PieceLink => {
  const quads = Math.max(1, Math.ceil(bytes / QUAD_PAYLOAD_SIZE))
  let height = MIN_HEIGHT
  while (2 ** (height - MIN_HEIGHT) < quads) height++
  return encodePiece({
    root: rootAt(height),
    height,
    padding: BigInt(payloadSizeOf(height)) - BigInt(bytes),
  })
}

/** Returns the piece link of so many zeros, which it does not hash. */
export const pieceOfZeros = (bytes: number): PieceLink => linkOf(bytes, zeroCommitment)

/** Bytes hashed before the event loop runs other work: 2 to 3 ms, or 10 ms without native SHA-256. */
const TURN_SIZE = 2 ** 20

/**
 * Computes the piece link of the content read from `source`, and counts its bytes.
 *
 * The event loop runs other work after every one or two mebibytes, even if the chunks are large or the source always
 * has the next one ready. An error of the source is thrown unchanged.
 *
 * @param options.onProgress called after each chunk with the number of bytes hashed so far
 */
export const pieceOf = async (
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { onProgress, backend }: { onProgress?: (bytes: number) => void; backend?: Sha256 } = {},
): Promise<{ link: PieceLink; bytes: number }> => {
  const hasher = createHasher(backend && { backend })
  let turnStart = 0
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; at += TURN_SIZE) {
      hasher.write(chunk.subarray(at, at + TURN_SIZE))
      if (hasher.bytes - turnStart >= TURN_SIZE) {
        await yieldTurn()
        turnStart = hasher.bytes
      }
    }
    onProgress?.(hasher.bytes)
  }
  return { link: hasher.digest(), bytes: hasher.bytes }
}
