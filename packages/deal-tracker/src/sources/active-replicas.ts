import { pipeline } from 'node:stream/promises'
import { createZstdDecompress } from 'node:zlib'
import { JSONParser } from '@streamparser/json'
import type { Fetch } from '@w3filecoin/runtime'
import type { SourceConfig } from '../config.ts'
import type { Source } from '../dependencies.ts'
import { ReplicaParser } from './replica-parser.ts'

/** The time limit for the whole download. */
const MAX_FETCH_MS = 120_000

/** The greatest size of a file, compressed (as it is sent) and decompressed. */
const MAX_DOWNLOAD_BYTES = 512 * 1024 * 1024
const MAX_FILE_BYTES = 4 * 1024 * 1024 * 1024

/** The first bytes of a zstd frame (RFC 8878). */
const ZSTD_MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd])

type Chunks = AsyncIterable<Uint8Array>

/**
 * Opens a file of active replicas at an HTTP address. The file is JSON, plain or compressed with zstd. It is parsed while
 * it streams: memory holds the deals, never the file.
 *
 * `read` throws if the server does not answer with 2xx within two minutes, and if the file is too large, truncated or
 * not such a file.
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
  { fetch }: { fetch: Fetch },
): Source => ({
  name,
  read: async () => {
    const response = await fetch(url, { signal: AbortSignal.timeout(MAX_FETCH_MS) })
    const { body } = response
    if (!response.ok || body === null) {
      await body?.cancel()
      throw new Error(`${url} answered ${response.status}`)
    }
    const replicas = new ReplicaParser()
    const parser = new JSONParser({ paths: ['$.state_epoch', '$.active_replicas.*'], keepStack: false })
    parser.onValue = ({ value, stack }) => {
      if (stack.length === 1) replicas.setEpoch(value)
      else replicas.add(value)
    }
    const parse = async (chunks: Chunks): Promise<void> => {
      for await (const chunk of limitBytes(chunks, MAX_FILE_BYTES)) parser.write(chunk)
    }

    const { start, chunks } = await peek(limitBytes(body, MAX_DOWNLOAD_BYTES), ZSTD_MAGIC.length)
    if (start.equals(ZSTD_MAGIC))
      await pipeline(chunks, createZstdDecompress({ chunkSize: 256 * 1024 }), parse)
    else await parse(chunks)
    // Throws if the file is truncated.
    if (!parser.isEnded) parser.end()
    return replicas.finish()
  },
})

async function* limitBytes(chunks: Chunks, maxBytes: number): AsyncGenerator<Uint8Array> {
  let bytes = 0
  for await (const chunk of chunks) {
    bytes += chunk.byteLength
    if (bytes > maxBytes) throw new Error(`The file of active replicas is larger than ${maxBytes} bytes`)
    yield chunk
  }
}

/** Returns the first `count` bytes, and chunks that still include them. */
const peek = async (
  chunks: AsyncGenerator<Uint8Array>,
  count: number,
): Promise<{ start: Buffer; chunks: Chunks }> => {
  let head = Buffer.alloc(0)
  while (head.length < count) {
    const { value, done } = await chunks.next()
    if (done) break
    head = Buffer.concat([head, value])
  }
  return {
    start: head.subarray(0, count),
    chunks: (async function* () {
      yield head
      yield* chunks
    })(),
  }
}
