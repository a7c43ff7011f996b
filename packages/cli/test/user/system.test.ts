import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createUser } from './w3fil.ts'

/** w3fil as child processes, on the local system that `w3fil dev` runs. */

const user = createUser()
const { home, w3fil, json, start } = user
let dev: ReturnType<typeof start>

beforeAll(async () => {
  dev = start(['dev', '--no-journey', '--port', '0', '--json'])
  await vi.waitUntil(() => dev.out.includes('"event":"ready"'), { timeout: 120_000 })
  mkdirSync(join(home, 'photos', '2026'), { recursive: true })
  writeFileSync(join(home, 'photos', 'cat.jpg'), Buffer.alloc(200_000, 'cat'))
  writeFileSync(join(home, 'photos', '2026', 'dog.jpg'), Buffer.alloc(3_000, 'dog'))
})
afterAll(async () => {
  dev.child.kill('SIGINT')
  expect((await dev.ended).code).toBe(0)
  user.remove()
})

const taskOf = async (path: string) => {
  const { result } = await json('status', path)
  return result.task as string
}

describe('w3fil on the local system', { timeout: 300_000 }, () => {
  it('leads from nothing to a verified proof, with the commands that its help names', async () => {
    const { out: help } = await w3fil('--help')
    for (const line of ['w3fil add photos', 'w3fil status', 'w3fil verify']) expect(help).toContain(line)

    const added = await w3fil('add', 'photos')
    expect(added.code, added.err).toBe(0)
    expect(added.out).toMatch(
      /photos\/cat\.jpg +bafkzci\w+ +data set \d+, piece \d+ +photos\/cat\.jpg\.w3proof/,
    )
    for (const text of ['hashing', 'uploading', 'stored on Filecoin', '✓ photos/2026/dog.jpg'])
      expect(added.err).toContain(text)

    const status = await w3fil('status', '--watch', 'photos/cat.jpg.w3proof')
    expect(status).toMatchObject({ code: 0, out: expect.stringMatching(/^stage +stored on Filecoin/) })
    const verified = await w3fil('verify', 'photos/cat.jpg.w3proof', '--file', 'photos/cat.jpg')
    expect(verified.code, verified.err).toBe(0)
    for (const text of [
      'is valid',
      'local.json',
      'The file has this piece',
      'Not proven:',
      'ask a deal tracker',
    ])
      expect(verified.out).toContain(text)
  })

  it('gives the same proofs again, and adds no proof as content', async () => {
    const proof = readFileSync(join(home, 'photos', 'cat.jpg.w3proof'))
    const again = await json('add', 'photos')
    expect(again.result).toMatchObject([
      { file: 'photos/2026/dog.jpg', ok: true, bytes: 3_000, place: expect.stringMatching(/^pdp:/) },
      {
        file: 'photos/cat.jpg',
        ok: true,
        proof: 'photos/cat.jpg.w3proof',
        task: await taskOf('photos/cat.jpg.w3proof'),
      },
    ])
    expect(readFileSync(join(home, 'photos', 'cat.jpg.w3proof'))).toEqual(proof)
  })

  it('does not overwrite a different proof, and fetches it elsewhere', async () => {
    mkdirSync(join(home, 'proofs'))
    writeFileSync(join(home, 'proofs', 'cat.jpg.w3proof'), 'another')
    const refused = await json('add', 'photos/cat.jpg', '--proofs', 'proofs')
    expect(refused).toMatchObject({ code: 1, error: { code: 'FileExists' }, result: [{ ok: false }] })
    expect(readFileSync(join(home, 'proofs', 'cat.jpg.w3proof'), 'utf8')).toBe('another')
    const { task } = refused.result[0]
    expect(refused.error.hint).toContain(`w3fil proof ${task} -o`)
    expect(await json('proof', task, '-o', 'proofs/cat2.w3proof')).toMatchObject({
      code: 0,
      result: { file: 'proofs/cat2.w3proof', task },
    })
  })

  it('verifies against the storefront that the user names, and asks the deal tracker', async () => {
    const { storefront } = JSON.parse(readFileSync(join(home, '.w3filecoin', 'local.json'), 'utf8'))
    const proof = 'photos/cat.jpg.w3proof'
    expect(await json('verify', proof, '--online')).toMatchObject({
      code: 0,
      result: { trusted: expect.stringContaining('local.json'), tracker: { status: 'Active' } },
    })
    for (const named of [storefront.did, storefront.url])
      expect(await json('verify', proof, '--storefront', named)).toMatchObject({
        code: 0,
        result: { storefront: storefront.did, file: 'not checked' },
      })
    const { result: other } = await json('key', 'new', '--key', 'other.key')
    expect(await json('verify', proof, '--storefront', other.did)).toMatchObject({
      code: 5,
      error: { code: 'InvalidProof' },
    })
    expect(await json('verify', proof, '--storefront', 'did:web:x.example')).toMatchObject({
      code: 1,
      error: { code: 'UnknownKeys', hint: expect.stringContaining('--keys') },
    })
    expect(await json('verify', proof, '--file', 'photos/2026/dog.jpg')).toMatchObject({
      code: 5,
      error: { code: 'FileMismatch' },
    })
    const tampered = readFileSync(join(home, proof))
    tampered[tampered.length - 1]! ^= 1
    writeFileSync(join(home, 'tampered.w3proof'), tampered)
    expect(await json('verify', 'tampered.w3proof')).toMatchObject({
      code: 5,
      error: { code: 'InvalidProof' },
    })
  })

  it('exits with 3 while there is no outcome, and continues an interrupted add with the same task', async () => {
    writeFileSync(join(home, 'late.txt'), 'Not uploaded yet')
    // The storefront waits for the content.
    const { result } = await json('add', 'late.txt', '--no-upload', '--no-wait')
    const [{ piece, task }] = result
    expect(await json('status', piece)).toMatchObject({
      code: 3,
      error: { code: 'OutcomePending', retryable: true },
      result: { stage: 'offered', task },
    })
    expect(await json('status', task)).toMatchObject({ code: 3, result: { stage: 'unknown' } })
    expect(await json('proof', task)).toMatchObject({
      code: 3,
      error: { hint: expect.stringContaining('--watch') },
    })

    const interrupted = start(['add', 'late.txt', '--no-upload', '--json'])
    await vi.waitUntil(() => interrupted.err.includes('offered'), { timeout: 60_000 })
    interrupted.child.kill('SIGINT')
    const { code, out } = await interrupted.ended
    expect(code).toBe(130)
    expect(JSON.parse(out)).toMatchObject({
      ok: false,
      error: {
        code: 'Interrupted',
        hint: 'The same command continues: w3fil add late.txt --no-upload --json',
      },
      result: [{ file: 'late.txt', ok: false, task }],
    })
    const continued = await json('add', 'late.txt')
    expect(continued).toMatchObject({ code: 0, result: [{ task, proof: 'late.txt.w3proof' }] })
  })

  it('exits with 1 if a workflow failed', async () => {
    writeFileSync(join(home, 'unknown.txt'), 'Never offered')
    const { result } = await json('cid', 'unknown.txt')
    expect(await json('status', result[0].piece)).toMatchObject({
      code: 1,
      error: { code: 'RecordNotFound' },
    })
  })

  it('adds in the space of a delegation until it is revoked', async () => {
    const { result: mine } = await json('key', 'show')
    const { result: other } = await json('key', 'new', '--key', 'ci.key')
    await json('delegate', other.did, '--can', 'filecoin/*', '-o', 'ci.delegation')
    writeFileSync(join(home, 'ci.txt'), 'By another agent')
    const add = ['add', 'ci.txt', '--no-wait', '--key', 'ci.key', '--with', mine.did]
    expect(await json(...add)).toMatchObject({
      code: 1,
      error: { code: 'Unauthorized', hint: expect.stringContaining('--delegation') },
    })
    expect(await json(...add, '--delegation', 'ci.delegation')).toMatchObject({ code: 0 })
    expect(await json('revoke', 'ci.delegation')).toMatchObject({ code: 0, command: 'revoke' })
    expect(await json(...add, '--nonce', 'again', '--delegation', 'ci.delegation')).toMatchObject({ code: 1 })
  })

  it('has the receipt delivered to the address that --receipts-to names', async () => {
    const arrived = Promise.withResolvers<string>()
    const server = createServer(async (request, response) => {
      await buffer(request)
      arrived.resolve(`${request.method} ${request.url} ${request.headers['content-type']}`)
      response.writeHead(204).end()
    }).listen(0, '127.0.0.1')
    try {
      await once(server, 'listening')
      const { port } = server.address() as AddressInfo
      writeFileSync(join(home, 'delivered.txt'), 'Its receipt is delivered')
      const add = ['add', 'delivered.txt', '--receipts-to']
      expect(await json(...add, `http://127.0.0.1:${port}/receipts`)).toMatchObject({ code: 0 })
      expect(await arrived.promise).toBe('POST /receipts application/vnd.ipld.car')
      expect(await json(...add, 'agent.example')).toMatchObject({ code: 2 })
      expect(await json(...add, `http://me@127.0.0.1:${port}/`)).toMatchObject({
        code: 1,
        error: { code: 'InvalidReceiptsAddress', hint: expect.stringContaining('--receipts-to') },
      })
    } finally {
      server.close()
    }
  })

  it('runs ops on the system', async () => {
    const { code, out } = await w3fil('ops', 'dlq')
    expect([code, out]).toEqual([0, expect.stringContaining('No dead letters')])
  })
})
