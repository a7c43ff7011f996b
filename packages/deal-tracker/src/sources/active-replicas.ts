import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createZstdDecompress } from 'node:zlib'
import { loggedUrl } from '@w3filecoin/runtime'
import type { SourceConfig } from '../config.ts'
import type { Source } from '../dependencies.ts'
import type { Report } from '../domain/report.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import { BoundedParser } from './bounded-parser.ts'
import { MAX_READ_MS, type Network } from './network.ts'
import { ReplicaParser } from './replica-parser.ts'
import { isZstd, splitFrames } from './zstd-frames.ts'

/** The greatest size of a file, as it is sent and decompressed. One million deals are 5 MB of zstd, or 300 MB of JSON. */
const MAX_DOWNLOAD_BYTES = 512 * 1024 * 1024
const MAX_FILE_BYTES = 4 * 1024 * 1024 * 1024

type Chunks = AsyncIterable<Uint8Array>

/**
 * Opens a file of active replicas at an HTTP address. The file is JSON, plain or compressed with zstd, in one frame or in
 * several. Memory holds the file as it is sent, and the deals, but never the decompressed file.
 *
 * The publisher of the file is not trusted with memory or time: every value, the number of deals, the file and the time
 * are bounded. `read` throws if the server does not answer with 2xx, if reading takes too long, and if the file is too
 * large, truncated or not such a file.
 *
 * @example The file, with one deal of one aggregate (see {@link ReplicaParser} for its records):
 *
 *     {
 *       "state_epoch": 4500000,
 *       "active_replicas": [
 *         {
 *           "contracts": [
 *             { "provider_id": 20378, "legacy_market_id": 81234567, "legacy_market_end_epoch": 6012345 }
 *           ],
 *           "piece_cid": "baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq",
 *           "piece_log2_size": 35
 *         }
 *       ]
 *     }
 */
export const openActiveReplicas = (
  { name, url }: SourceConfig<'active-replicas'>,
  { fetch, maxReadMs = MAX_READ_MS }: Network,
): Source => ({
  name,
  url: loggedUrl(url),
  types: ['market', 'provider'],
  read: async ({ deals: known }) => {
    const signal = AbortSignal.timeout(maxReadMs)
    try {
      const { ok, status, body } = await fetch(url, { signal })
      if (ok && body !== null) return await readReplicas(body, known, signal)
      await body?.cancel()
      throw new Error(`${url} answered ${status}`)
    } catch (cause) {
      if (!signal.aborted) throw cause
      throw new Error(`Reading ${url} took more than ${maxReadMs / 1000} seconds`, { cause })
    }
  },
})

/**
 * Downloads the file before it parses it. `fetch` of Node 24 ends the process when a server closes the connection while
 * the reader is slower (https://github.com/nodejs/undici/issues/5360). No code can catch that, and parsing is slower.
 */
const readReplicas = async (body: Chunks, known: Snapshot['deals'], signal: AbortSignal): Promise<Report> => {
  const file = await collectBlocks(limitBytes(body, MAX_DOWNLOAD_BYTES))
  const replicas = new ReplicaParser(known)
  const parser = new BoundedParser(replicas)
  const parse = async (chunks: Chunks): Promise<void> => {
    for await (const chunk of limitBytes(chunks, MAX_FILE_BYTES)) parser.write(chunk)
  }
  if (isZstd(file[0] as Buffer))
    await pipeline(Readable.from(file), splitFrames, createZstdDecompress({ chunkSize: 256 * 1024 }), parse, {
      signal,
    })
  else await pipeline(Readable.from(file), parse, { signal })
  parser.end()
  return replicas.finish()
}

/** The greatest number of chunks that become one block, and the size at which a block is full. */
const MAX_BLOCK_CHUNKS = 1000
const BLOCK_BYTES = 1024 * 1024

/**
 * Collects chunks in larger blocks. A server may send one byte in each chunk, and a chunk costs hundreds of bytes of
 * memory beside its contents.
 */
export const collectBlocks = async (chunks: Chunks): Promise<Buffer[]> => {
  const blocks: Buffer[] = []
  let open: Uint8Array[] = []
  let bytes = 0
  const close = (): void => {
    blocks.push(Buffer.concat(open))
    open = []
    bytes = 0
  }
  for await (const chunk of chunks) {
    open.push(chunk)
    bytes += chunk.byteLength
    if (open.length === MAX_BLOCK_CHUNKS || bytes >= BLOCK_BYTES) close()
  }
  close()
  return blocks
}

async function* limitBytes(chunks: Chunks, maxBytes: number): AsyncGenerator<Uint8Array> {
  let bytes = 0
  for await (const chunk of chunks) {
    bytes += chunk.byteLength
    if (bytes > maxBytes) throw new Error(`The file of active replicas is larger than ${maxBytes} bytes`)
    yield chunk
  }
}
