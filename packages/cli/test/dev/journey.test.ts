import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempDisposableSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ed25519 } from '@ucanto/principal'
import { placeIn, toPlaceKey, verify } from '@w3filecoin/client'
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { findFiles } from '../../src/dev/content.ts'
import { Journey } from '../../src/dev/journey.ts'
import { run } from './start.ts'

describe('npm start with files', () => {
  const directory = mkdtempDisposableSync(join(tmpdir(), 'w3filecoin-'))
  const data = join(directory.path, 'data')
  const files = join(directory.path, 'files')

  beforeAll(() => {
    mkdirSync(join(files, 'more'), { recursive: true })
    writeFileSync(join(files, 'small.txt'), 'A small file\n')
    writeFileSync(join(files, 'more', 'the same.txt'), 'A small file\n')
    writeFileSync(join(files, 'large.bin'), pseudorandom(3_000_000))
    for (let n = 0; n < 12; n++) writeFileSync(join(files, `${n}.txt`), `File ${n}\n`)
    writeFileSync(join(files, '.hidden'), 'Not for the journey')
    return () => directory.remove()
  })

  const events = (stdout: string) =>
    stdout
      .split('\n')
      .filter(line => line !== '')
      .map(line => JSON.parse(line))

  it('takes every file to a deal', { timeout: 300_000 }, async () => {
    const once = run('--once', '--data', data, '--files', files, '--port', '0')
    expect(await once.ended, once.stderr).toBe(0)
    expect(once.stdout.trimEnd().split('\n').at(-1)).toBe('15 files: 15 accepted, 0 failed')
    expect(once.stderr).toBe('')
    for (const name of ['small.txt', 'more/the same.txt', 'large.bin']) expect(once.stdout).toContain(name)
    expect(once.stdout).toContain('\nSkipped 1 entry: 1 hidden (.hidden).\n')
    expect(once.stdout).not.toContain('.hidden  ')
  })

  it('keeps a proof of every file, which verifies with the key of the storefront only', async () => {
    const { storefront } = JSON.parse(readFileSync(join(data, 'local.json'), 'utf8'))
    const journey = JSON.parse(readFileSync(join(data, 'journey.json'), 'utf8'))
    for (const { file, proof, accept, place } of journey) {
      expect(proof).toBe(join(data, 'proofs', `${file}.w3proof`))
      const report = await verify(proof, { storefront: storefront.did, file: join(files, file) })
      expect(report).toMatchObject({ task: accept, file: 'same' })
      expect(toPlaceKey(placeIn(report.deal)!)).toBe(place)
    }
    expect(journey).toHaveLength(15)
  })

  it('reports files that already have a deal, with the same receipts', { timeout: 300_000 }, async () => {
    const first = JSON.parse(readFileSync(join(data, 'journey.json'), 'utf8')) as { accept: string }[]
    const again = run('--once', '--data', data, '--files', files, '--port', '0')
    expect(await again.ended, again.stderr).toBe(0)
    expect(again.stdout).toContain('15 of 15 were accepted earlier; offers are idempotent')
    expect(again.stdout.trimEnd().split('\n').at(-1)).toBe('15 files: 15 accepted, 0 failed')
    const second = JSON.parse(readFileSync(join(data, 'journey.json'), 'utf8')) as { accept: string }[]
    expect(second.map(({ accept }) => accept)).toEqual(first.map(({ accept }) => accept))
  })

  it('prints JSON events, serves after the journey, and stops at SIGINT', { timeout: 300_000 }, async () => {
    const serving = run('--json', '--data', data, '--files', files, '--port', '0')
    onTestFinished(() => void serving.child.kill('SIGKILL'))
    const finished = await vi.waitUntil(
      () => events(serving.stdout.replace(/[^\n]*$/, '')).find(({ event }) => event === 'finished'),
      { timeout: 200_000 },
    )
    expect(finished).toMatchObject({ files: 15, offered: 15, accepted: 15, failed: 0 })

    const { services } = events(serving.stdout).find(({ event }) => event === 'ready')
    expect(Object.keys(services)).toEqual(['storefront', 'aggregator', 'dealer', 'dealTracker'])
    const facts = JSON.parse(readFileSync(join(data, 'local.json'), 'utf8'))
    const keys = JSON.parse(readFileSync(join(data, 'keys.json'), 'utf8'))
    expect(statSync(join(data, 'keys.json')).mode & 0o777).toBe(0o600)
    for (const [role, { url, did }] of Object.entries<{ url: string; did: string }>(services)) {
      expect(facts[role]).toEqual({ url, did })
      expect(keys[role]).toMatch(/^Mg/)
      expect(await (await fetch(url)).json()).toMatchObject({ did })
    }
    expect(facts.agent).toEqual({ did: expect.stringMatching(/^did:key:/) })
    expect(keys.agent).toMatch(/^Mg/)
    expect(serving.stdout).not.toContain(keys.agent)

    const second = run('--no-journey', '--data', data, '--port', '0')
    expect(await second.ended).toBe(1)
    expect(second.stderr).toBe(
      `w3fil: The data directory ${data} is in use by process ${serving.child.pid}. Stop it or pass another --data.\n`,
    )

    serving.child.kill('SIGINT')
    expect(await serving.ended).toBe(0)
    await expect(fetch(services.storefront.url)).rejects.toThrow()
  })
})

describe('a journey whose storefront fails', () => {
  it('repeats the offer after pauses, and ends with the signal', async () => {
    using directory = mkdtempDisposableSync(join(tmpdir(), 'w3filecoin-'))
    writeFileSync(join(directory.path, 'small.txt'), 'A small file\n')
    let offers = 0
    // It stores content, and fails every invocation.
    const server = createServer((request, response) => {
      request.resume().on('end', () => {
        if (request.method === 'POST') offers++
        response.writeHead(request.method === 'POST' ? 500 : 200).end()
      })
    }).listen(0, '127.0.0.1')
    onTestFinished(() => void server.close())
    await once(server, 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const someone = async () => {
      const signer = await ed25519.generate()
      return { url, did: signer.did() as never, key: ed25519.format(signer) }
    }
    const { files } = await findFiles(directory.path)
    const stop = new AbortController()
    const journey = new Journey({
      files,
      proofs: directory.path,
      local: {
        services: { storefront: await someone(), dealTracker: await someone() },
        agent: await someone(),
        engines: { s3: url, sqs: url, env: {} },
        market: { url },
      },
      patienceMs: 60_000,
      signal: stop.signal,
      onProgress: () => {},
    })
    const travelled = journey.travel()
    await vi.waitUntil(() => offers > 0)
    await sleep(1_000)
    stop.abort(new Error('stopped'))
    await expect(travelled).rejects.toThrow(/stopped|aborted/)
    expect(offers).toBeLessThan(10)
  })
})

const pseudorandom = (size: number): Buffer => {
  const blocks = Array.from({ length: Math.ceil(size / 32) }, (_, n) =>
    createHash('sha256').update(`${n}`).digest(),
  )
  return Buffer.concat(blocks).subarray(0, size)
}
