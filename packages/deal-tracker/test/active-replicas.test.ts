import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { createZstdCompress, zstdCompressSync } from 'node:zlib'
import { somePiece } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { MAX_SOURCES } from '../src/config.ts'
import { EMPTY_SNAPSHOT } from '../src/domain/snapshot.ts'
import { NOTHING_WATCHED } from '../src/domain/watch.ts'
import { resources } from '../src/resources.ts'
import { collectBlocks } from '../src/sources/active-replicas.ts'
import { BoundedParser, MAX_VALUE_BYTES } from '../src/sources/bounded-parser.ts'
import { MAX_READ_MS } from '../src/sources/network.ts'
import { openSource } from '../src/sources/open-source.ts'
import { replica } from './replica.ts'

const CHUNK_BYTES = 64 * 1024
const config = { name: 'a', kind: 'active-replicas' as const, url: 'https://a.test/' }

/** Reads a file that the source serves at once. */
const read = (file: string | Uint8Array<ArrayBuffer>) =>
  openSource(config, { fetch: async () => new Response(file) }).read(EMPTY_SNAPSHOT, NOTHING_WATCHED)

const record = (id: number, more = {}) => ({ ...replica(somePiece(`${id}`, 30), [id, 500]), ...more })
const textOf = (records: unknown[]) => JSON.stringify({ state_epoch: 10, active_replicas: records })

describe('B4: a file of active replicas', () => {
  it.each<[string, string, string]>([
    ['a record with contracts without end', '{"active_replicas":[{"contracts":[', '0,'],
    ['a record of objects without end', '{"active_replicas":[{"contracts":[', '{"a":{}},'],
    ['a record of fields without end', '{"active_replicas":[{"a":1', ',"a":1'],
    ['a text without end', '{"active_replicas":["', 'x'],
    ['a text of escapes without end', '{"active_replicas":["', '\\u0041'],
    ['a number without end', '{"active_replicas":[1', '1'],
    ['a key without end', '{"', 'x'],
    ['space without end', '{"active_replicas":[', ' '],
    ['an unknown text without end', '{"other":"', 'x'],
    ['a list as its epoch', '{"state_epoch":[0', ',0'],
    ['an object as its epoch', '{"state_epoch":{"a":0', ',"a":0'],
    ['lists as its epoch', '{"state_epoch":[[]', ',[]'],
    ['lists in lists without end', '{"active_replicas":[', '['],
    ['objects in objects without end', '{"active_replicas":[', '{"a":'],
  ])('is refused after 1 MiB of %s', (_, start, more) => {
    const values = { setEpoch: () => {}, add: () => expect.unreachable('no value has an end') }
    const parser = new BoundedParser(values)
    const chunk = Buffer.from(more.repeat(Math.ceil(CHUNK_BYTES / more.length)))
    let bytes = 0
    parser.write(Buffer.from(start))
    expect(() => {
      for (; bytes < 100e6; bytes += chunk.length) parser.write(chunk)
    }).toThrow(/larger than 1048576 bytes|more than 16 levels/)
    expect(bytes).toBeLessThanOrEqual(MAX_VALUE_BYTES + CHUNK_BYTES)
  })

  it('costs little memory, however large its decompressed record is', async () => {
    const entries = Buffer.from('0,'.repeat(512 * 1024))
    const contents = function* () {
      yield '{"state_epoch":10,"active_replicas":[{"contracts":['
      for (let n = 0; n < 250; n++) yield entries
      yield '0]}]}'
    }
    // 26 KB, for a record of 131 million entries: the parser would build a list of 1 GB.
    const file = Buffer.from(await buffer(Readable.from(contents()).pipe(createZstdCompress())))
    const before = process.memoryUsage().rss
    let peak = before
    const sampling = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().rss)
    }, 5)
    await expect(read(file)).rejects.toThrow('larger than 1048576 bytes')
    clearInterval(sampling)
    expect(peak - before).toBeLessThan(150e6)
  })

  it('is kept in few blocks while it is read, even if the server sends each byte alone', async () => {
    const chunks = function* () {
      for (let n = 0; n < 10_500; n++) yield Buffer.from([n & 0xff])
    }
    const blocks = await collectBlocks(Readable.from(chunks()))
    expect(blocks).toHaveLength(11)
    expect(Buffer.concat(blocks)).toEqual(Buffer.concat([...chunks()]))
    const large = await collectBlocks(Readable.from(Array.from({ length: 5 }, () => Buffer.alloc(700_000))))
    expect(large.map(({ length }) => length)).toEqual([1_400_000, 1_400_000, 700_000])
  })

  it('may have more bytes in all its records than one record may have', async () => {
    const records = Array.from({ length: 40 }, (_, n) => record(n + 1, { other: 'x'.repeat(60_000) }))
    const { deals, malformed } = await read(textOf(records))
    expect(deals.size).toBe(40)
    expect(malformed).toBe(0)
  })

  it('may have other fields, and the epoch behind the records', async () => {
    const text = `{"version":{"a":[1,2]},"active_replicas":${JSON.stringify([record(1)])},"state_epoch":10,"x":null}`
    expect(await read(text)).toMatchObject({ stateEpoch: 10, malformed: 0 })
  })

  it('does not change objects by a key that is the name of the prototype', async () => {
    const text = `{"__proto__":{"x":1},"active_replicas":[{"__proto__":{"contracts":[]}}],"state_epoch":10}`
    expect(await read(text)).toMatchObject({ malformed: 1 })
    expect(Object.keys(Object.prototype)).toEqual([])
  })

  it('is read whole if it is several zstd frames, the first of them for other programs', async () => {
    const text = textOf([record(1), record(2)])
    const skippable = Buffer.from([0x5e, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2])
    const file = Buffer.concat([
      skippable,
      zstdCompressSync(text.slice(0, 100)),
      skippable,
      zstdCompressSync(text.slice(100)),
    ])
    expect([...(await read(file)).deals.keys()]).toEqual([1, 2])
  })
})

describe('B4: a slow source', () => {
  it.each<[string, RequestListener]>([
    ['does not answer', () => {}],
    ['answers without a file', (_, response) => response.writeHead(200).flushHeaders()],
    [
      'sends one byte after the other',
      (_, response) => {
        response.write('{"active_replicas":[')
        const timer = setInterval(() => response.write(' '), 5)
        response.on('close', () => clearInterval(timer))
      },
    ],
  ])('that %s ends after the time limit', async (_, listener) => {
    const server = createServer(listener)
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    const source = openSource({ ...config, url }, { fetch, maxReadMs: 300 })
    await expect(source.read(EMPTY_SNAPSHOT, NOTHING_WATCHED)).rejects.toThrow(
      `Reading ${url} took more than 0.3 seconds`,
    )
    server.closeAllConnections()
    server.close()
  })

  it('leaves time for the other sources: a run reads and stores as many as the configuration allows', () => {
    const storeMs = 50_000
    expect(MAX_SOURCES * (MAX_READ_MS + storeMs)).toBeLessThanOrEqual(
      resources.schedules.sync.run.timeout * 1000,
    )
  })
})
