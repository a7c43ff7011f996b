import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { resources } from '@w3filecoin/aggregator/resources'
import { bind } from '@w3filecoin/aws'
import { type Local, startLocal } from '@w3filecoin/local'
import { placesOf } from '@w3filecoin/local/provision'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url))

/** The command, as somebody types it. */
const ops = (...args: string[]) => opsWith(process.env, ...args)

const opsWith = (env: NodeJS.ProcessEnv, ...args: string[]) =>
  new Promise<{ code: number; out: string; err: string }>(resolve => {
    execFile(process.execPath, [MAIN, ...args], { env }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    )
  })

describe('the command', () => {
  it('says what it can do', async () => {
    const { code, out } = await ops('--help')
    expect(code).toBe(0)
    for (const word of ['dlq', 'reconcile', '--data', '--stage', '--send', '--json', 'Exit code'])
      expect(out).toContain(word)
  })

  it.each([
    ['no command', [], 'Say dlq or reconcile; --help says what they do'],
    ['another command', ['drop'], 'There is no drop; there are dlq and reconcile'],
    [
      'another service',
      ['dlq', '--service', 'x'],
      'There is no service x; there are storefront, aggregator, dealer, deal-tracker',
    ],
    [
      'a queue of another service',
      ['dlq', '--service', 'dealer', '--queue', 'seal'],
      'There is no queue seal; there are track, report, retry, conclude',
    ],
    ['a limit that is none', ['dlq', '--limit', '0'], '--limit takes a number from 1 to 10000, not 0'],
    [
      'two systems',
      ['dlq', '--data', 'x', '--stage', 'y'],
      'Either --data or --stage: a system is here or there',
    ],
    [
      'a system that does not run',
      ['dlq', '--data', '/nowhere'],
      'No system runs on /nowhere; start it with npm start, or name another with --data or --stage',
    ],
  ])('refuses %s', async (_, args, line) => {
    expect(await ops(...args)).toEqual({ code: 1, out: '', err: `w3filecoin: ${line}\n` })
  })
})

describe('a system on this machine', () => {
  const data = mkdtempSync(join(tmpdir(), 'w3filecoin-'))
  let local: Local
  let aggregator: ReturnType<typeof bind<typeof resources>>

  beforeAll(async () => {
    local = await startLocal({
      data,
      everySeconds: 1,
      // What is put into the list of a group stays there.
      configure: (role, config) =>
        role === 'aggregator' ? { ...config, limits: { ...config.limits, longestWait: 3600 } } : config,
    })
    Object.assign(process.env, local.engines.env)
    aggregator = bind(resources, placesOf({ resources, service: 'aggregator', sqs: local.engines.sqs }))
  })
  afterAll(async () => {
    await local?.stop()
    rmSync(data, { recursive: true, force: true })
  })

  const json = async (...args: string[]) => {
    const { code, out, err } = await ops(...args, '--data', data, '--json')
    expect(err).toBe('')
    return {
      code,
      lines: out
        .split('\n')
        .filter(Boolean)
        .map(line => JSON.parse(line)),
    }
  }

  it('shows a message that it gave up, and sends it back', async () => {
    await aggregator.queue('include').send([{ no: 'message' }])
    let dead = await json('dlq', '--queue', 'include')
    while (dead.lines.length === 0) dead = await json('dlq', '--queue', 'include')
    expect(dead.code).toBe(2)
    expect(dead.lines).toEqual([
      expect.objectContaining({
        service: 'aggregator',
        queue: 'include',
        attempts: 5,
        reason: [{ name: 'ZodError', message: expect.stringMatching(/^✖ Invalid input: .*→ at aggregate/s) }],
        at: expect.stringMatching(/packages\/aggregator\/src\/consumers\/include\.ts:\d+:\d+/),
        body: '{"no":"message"}',
        sent: false,
      }),
    ])
    await sleep(1100)
    const shown = await ops('dlq', '--data', data)
    expect(shown.code).toBe(2)
    expect(shown.out).toContain('aggregator include: 1 dead letter\n')
    expect(shown.out).toContain('1 dead letter in 13 queues; --send sends them back to their queues\n')

    await sleep(1100)
    expect(await json('dlq', '--send')).toMatchObject({ code: 0, lines: [{ sent: true }] })
    expect(await json('dlq')).toEqual({ code: 0, lines: [] })
  })

  it('gets a record moving that nothing else would', async () => {
    const pieces = aggregator.table<{ id: string; stage?: string }>('piece')
    const piece = {
      id: 'lost',
      stage: 'offered',
      storefront: local.services.storefront!.did,
      group: 'local',
      piece: 'bafkzcibcaapao57e5ewxgvoeqlzeclmgbzzgzh5ryxh2jhhxlxqtkwvrl5kvyaq',
      size: 128,
      offeredAt: Date.now(),
      accept: new Uint8Array(1),
    }
    await pieces.putMany([piece])
    await sleep(3000)
    expect(await pieces.get({ id: 'lost' })).toMatchObject({ stage: 'offered', revision: 1 })

    expect(await json('reconcile')).toMatchObject({
      code: 2,
      lines: [{ service: 'aggregator', table: 'piece', key: 'lost', stage: 'offered', sent: false }],
    })
    const shown = await ops('reconcile', '--data', data)
    expect(shown.code).toBe(2)
    expect(shown.out).toContain('aggregator piece: 1 record\n')
    expect(shown.out).toContain('1 record stalled')

    expect(await json('reconcile', '--send')).toMatchObject({ code: 0, lines: [{ key: 'lost', sent: true }] })
    while ((await pieces.get({ id: 'lost' }))?.stage !== 'pending') await sleep(100)
    expect(await json('reconcile')).toEqual({ code: 0, lines: [] })
  })

  it('is operated as a stage too, when it is written down as one', async () => {
    // All of AWS that is not here: the Parameter Store, as its API answers.
    const { resources: places } = JSON.parse(readFileSync(join(data, 'local.json'), 'utf8'))
    const store = createServer(async (request, response) => {
      const { Name } = JSON.parse((await request.toArray()).join(''))
      const value = places[Name.replace('/w3filecoin/production/', '')]
      response.statusCode = value ? 200 : 400
      response.setHeader('content-type', 'application/x-amz-json-1.1')
      response.end(
        JSON.stringify(
          value ? { Parameter: { Name, Value: JSON.stringify(value) } } : { __type: 'ParameterNotFound' },
        ),
      )
    })
    await once(store.listen(0, '127.0.0.1'), 'listening')
    const url = `http://127.0.0.1:${(store.address() as AddressInfo).port}`
    const env = { ...local.engines.env, AWS_ENDPOINT_URL_SSM: url }

    await aggregator.table<object>('piece').putMany([{ id: 'stalled', stage: 'offered', offeredAt: 0 }])
    const { code, out, err } = await opsWith(env, 'reconcile', '--stage', 'production', '--json')
    expect([code, err]).toEqual([2, ''])
    expect(JSON.parse(out)).toMatchObject({ service: 'aggregator', key: 'stalled', sent: false })
    expect(await opsWith(env, 'dlq', '--stage', 'production')).toEqual({
      code: 0,
      out: 'No dead letters in 13 queues\n',
      err: '',
    })
    expect(await opsWith(env, 'dlq', '--stage', 'other', '--service', 'dealer')).toEqual({
      code: 1,
      out: '',
      err: 'w3filecoin: There is no stage other in this account and region: nothing is at /w3filecoin/other/dealer in the Parameter Store\n',
    })
    store.close()
  })
})
