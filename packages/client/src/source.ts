import { type PieceLink, pieceOf } from '@w3filecoin/piece'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { platform } from '#platform'
import { reasonOf, W3Error } from './error.ts'

/**
 * Content: a file by its path or `file:` URL (in Node), a `File` or `Blob`, bytes, or a stream of bytes. A stream is kept in memory, because
 * its content is read twice; it may have 256 MiB.
 */
export type Source =
  | string
  | URL
  | Blob
  | Uint8Array
  | ArrayBuffer
  | AsyncIterable<Uint8Array>
  | ReadableStream<Uint8Array>

/** Content, by its CIDs. */
export interface Identified {
  /** CID of the content as one raw block, e.g. `bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy`. */
  content: CID
  /** Piece CID v2, e.g. `bafkzcibcaapao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq`. */
  piece: PieceLink
  /** Size of the content, in bytes. */
  bytes: number
}

/** Progress of hashing. */
export interface HashingEvent {
  /** The kind of the event. */
  type: 'hashing'
  /** Bytes that are hashed. */
  bytes: number
  /** Bytes of the content. */
  total: number
}

const MAX_STREAM_BYTES = 256 * 1024 * 1024
const RAW = 0x55
const SHA2_256 = 0x12

/** Returns the content of a source in a form that can be read several times. */
export const openSource = async (source: Source, signal?: AbortSignal): Promise<Blob> => {
  if (source instanceof Blob) return source
  if (typeof source === 'string' || source instanceof URL) return platform.openFile(source)
  if (source instanceof Uint8Array || source instanceof ArrayBuffer)
    return new Blob([source as Uint8Array<ArrayBuffer> | ArrayBuffer])
  if (typeof source !== 'object' || source === null || !(isStream(source) || Symbol.asyncIterator in source))
    throw new W3Error('InvalidSource', `Cannot read content from ${String(source).slice(0, 100)}`, {
      hint: 'Pass a path, a File, a Blob, bytes, or a stream of bytes.',
    })
  const chunks: Uint8Array<ArrayBuffer>[] = []
  let bytes = 0
  for await (const chunk of isStream(source) ? readStream(source) : source) {
    signal?.throwIfAborted()
    if (!(chunk instanceof Uint8Array))
      throw new W3Error('InvalidSource', 'The stream yields values that are not bytes', {
        hint: 'Pass a stream of Uint8Array, e.g. without an encoding.',
      })
    bytes += chunk.byteLength
    if (bytes > MAX_STREAM_BYTES)
      throw new W3Error('SourceTooLarge', `The stream has more than ${MAX_STREAM_BYTES} bytes`)
    // A copy: streams may overwrite a chunk after the next one is read.
    chunks.push(chunk.slice())
  }
  return new Blob(chunks)
}

const isStream = (source: object): source is ReadableStream<Uint8Array> => 'getReader' in source

/** Yields the chunks of a stream. Not every browser can iterate over a stream. */
export async function* readStream(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader()
  let isDone = false
  try {
    for (;;) {
      const { done, value } = await reader.read()
      isDone = done
      if (done) return
      yield value
    }
  } finally {
    if (!isDone) await reader.cancel().catch(() => {})
  }
}

/** Computes the CIDs of content in one pass and in constant memory. */
export const identifyBlob = async (
  blob: Blob,
  {
    onProgress,
    signal,
  }: { onProgress?: ((event: HashingEvent) => void) | undefined; signal?: AbortSignal | undefined } = {},
): Promise<Identified> => {
  const sha256 = platform.createSha256()
  async function* hashChunks() {
    for await (const chunk of readStream(blob.stream() as ReadableStream<Uint8Array>)) {
      signal?.throwIfAborted()
      sha256.update(chunk)
      yield chunk
    }
  }
  try {
    const { link, bytes } = await pieceOf(hashChunks(), {
      onProgress: bytes => onProgress?.({ type: 'hashing', bytes, total: blob.size }),
    })
    const digest = new Uint8Array(sha256.digest())
    return { content: CID.createV1(RAW, Digest.create(SHA2_256, digest)), piece: link, bytes }
  } catch (cause) {
    signal?.throwIfAborted()
    if (!(cause instanceof DOMException)) throw cause
    throw new W3Error(
      'SourceChanged',
      `The file cannot be read, or changed while it was read: ${reasonOf(cause)}`,
      {
        cause,
      },
    )
  }
}

/**
 * Computes the content CID and the piece CID of content, and counts its bytes. It sends nothing.
 *
 * @param source is read once
 * @param options a function that is called with the progress, and a signal that ends the call
 * @throws W3Error `InvalidSource`, `SourceChanged`, `SourceTooLarge`
 * @example await identify('photo.jpg') // { content: CID(bafkrei…), piece: CID(bafkzci…), bytes: 1234567 }
 */
export const identify = async (
  source: Source,
  options: { onProgress?: (event: HashingEvent) => void; signal?: AbortSignal } = {},
): Promise<Identified> => identifyBlob(await openSource(source, options.signal), options)
