import { mkdtempDisposableSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Piece } from '@web3-storage/data-segment'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { identify, type Source } from '../src/index.ts'
import { platform as browser } from '../src/platform-browser.ts'
import { platform as node } from '../src/platform-node.ts'

const bytes = Uint8Array.from({ length: 3_000_000 }, (_, n) => (n * 7919) >> 5)
const directory = mkdtempDisposableSync(join(tmpdir(), 'identify-'))
const path = join(directory.path, 'a file #1.bin')

beforeAll(() => writeFileSync(path, bytes))
afterAll(() => directory.remove())

async function* chunks(size: number) {
  // One buffer for every chunk: a stream may reuse its memory.
  const buffer = new Uint8Array(size)
  for (let at = 0; at < bytes.length; at += size) {
    const part = bytes.subarray(at, at + size)
    buffer.set(part)
    yield buffer.subarray(0, part.length)
  }
}

describe('identify', () => {
  const sources: [string, () => Source][] = [
    ['a path', () => path],
    ['a file URL', () => pathToFileURL(path)],
    ['bytes', () => bytes],
    ['an ArrayBuffer', () => bytes.buffer],
    ['a Blob', () => new Blob([bytes])],
    ['a File', () => new File([bytes], 'photo.jpg')],
    ['a stream', () => new Blob([bytes]).stream() as ReadableStream<Uint8Array>],
    ['an async iterable that reuses its memory', () => chunks(65_537)],
  ]
  it.each(sources)('computes the CIDs of %s, as the published libraries do', async (_, open) => {
    const found = await identify(open())
    expect(`${found.content}`).toBe(`${CID.createV1(0x55, await sha256.digest(bytes))}`)
    expect(`${found.piece}`).toBe(`${Piece.fromPayload(bytes).link}`)
    expect(found.bytes).toBe(bytes.length)
  })

  it('reports its progress in bytes', async () => {
    const events: { bytes: number; total: number }[] = []
    await identify(path, { onProgress: event => events.push(event) })
    expect(events.at(-1)).toEqual({ type: 'hashing', bytes: bytes.length, total: bytes.length })
    expect(events.map(({ bytes }) => bytes)).toEqual(events.map(({ bytes }) => bytes).sort((a, b) => a - b))
    expect(events.length).toBeGreaterThan(5)
  })

  it('ends with the reason of its signal', async () => {
    const controller = new AbortController()
    const reason = new Error('the user left')
    const running = identify(path, { signal: controller.signal, onProgress: () => controller.abort(reason) })
    await expect(running).rejects.toBe(reason)
  })

  it('names a path that it cannot read', async () => {
    for (const [bad, message] of [
      [join(directory.path, 'missing'), /Cannot read .*missing: .*ENOENT/],
      [directory.path, /is not a regular file/],
    ] as const)
      await expect(identify(bad)).rejects.toMatchObject({
        code: 'InvalidSource',
        message: expect.stringMatching(message),
        hint: expect.any(String),
        retryable: false,
      })
    for (const bad of [undefined, null, 7, {}])
      await expect(identify(bad as never)).rejects.toMatchObject({ code: 'InvalidSource' })
    const text = (async function* () {
      yield 'text'
    })()
    await expect(identify(text as never)).rejects.toMatchObject({ code: 'InvalidSource' })
  })

  it('does not identify a file that changes while it is read', async () => {
    const changing = join(directory.path, 'changing')
    writeFileSync(changing, bytes)
    let isChanged = false
    const running = identify(changing, {
      onProgress: () => {
        if (isChanged) return
        isChanged = true
        writeFileSync(changing, bytes.slice(1))
        utimesSync(changing, 0, 0)
      },
    })
    await expect(running).rejects.toMatchObject({ code: 'SourceChanged', hint: expect.any(String) })
  })

  it('keeps at most 256 MiB of a stream', async () => {
    const chunk = new Uint8Array(64 * 1024 * 1024)
    let sent = 0
    const endless = (async function* () {
      for (;;) {
        sent++
        yield chunk
      }
    })()
    await expect(identify(endless)).rejects.toMatchObject({ code: 'SourceTooLarge' })
    expect(sent).toBe(5)
  })
})

describe('the SHA-256 of browsers', () => {
  it('equals that of Node, for chunks of every size', () => {
    for (const size of [1, 63, 64, 511, 512, 513, 70_000]) {
      const hashers = [node.createSha256(), browser.createSha256()]
      for (const hasher of hashers)
        for (let at = 0; at < 200_000; at += size)
          hasher.update(bytes.subarray(at, Math.min(at + size, 200_000)))
      const [expected, found] = hashers.map(hasher => Buffer.from(hasher.digest()).toString('hex'))
      expect(found).toBe(expected)
    }
  })
})
