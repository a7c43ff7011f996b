import { pipeline } from 'node:stream/promises'
import { createZstdDecompress } from 'node:zlib'
import { JSONParser } from '@streamparser/json'
import type { Fetch } from '@w3filecoin/runtime'
import type { SourceConfig } from './config.ts'
import type { Source } from './dependencies.ts'
import { ActiveReplicas } from './domain/report.ts'

/** How long a source may take to hand over its file, in milliseconds. */
const TIMEOUT = 120_000

/** The most bytes of a file, as they are sent and as they are read. */
const MAX_DOWNLOAD = 512 * 1024 * 1024
const MAX_FILE = 4 * 1024 * 1024 * 1024

/** The first bytes of zstd. */
const MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd])

type Chunks = AsyncIterable<Uint8Array>

/**
 * A file of active replicas, fetched over HTTP, compressed by zstd or not. It is read as it comes: in memory are the
 * deals, never the file.
 */
export const activeReplicas = ({ name, url }: SourceConfig, { fetch }: { fetch: Fetch }): Source => ({
  name,
  read: async () => {
    const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT) })
    const { body } = response
    if (!response.ok || body === null) {
      await body?.cancel()
      throw new Error(`${url} answered ${response.status}`)
    }
    const replicas = new ActiveReplicas()
    const parser = new JSONParser({ paths: ['$.state_epoch', '$.active_replicas.*'], keepStack: false })
    parser.onValue = ({ value, stack }) => {
      if (stack.length === 1) replicas.setEpoch(value)
      else replicas.add(value)
    }
    const parse = async (chunks: Chunks): Promise<void> => {
      for await (const chunk of atMost(chunks, MAX_FILE)) parser.write(chunk)
    }

    const { start, chunks } = await peek(atMost(body, MAX_DOWNLOAD), MAGIC.length)
    if (start.equals(MAGIC)) await pipeline(chunks, createZstdDecompress({ chunkSize: 256 * 1024 }), parse)
    else await parse(chunks)
    // Throws if the file stops in the middle.
    if (!parser.isEnded) parser.end()
    return replicas.finish()
  },
})

async function* atMost(chunks: Chunks, limit: number): AsyncGenerator<Uint8Array> {
  let bytes = 0
  for await (const chunk of chunks) {
    bytes += chunk.byteLength
    if (bytes > limit) throw new Error(`A file of active replicas has at most ${limit} bytes`)
    yield chunk
  }
}

/** The first bytes, and all of them. */
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
