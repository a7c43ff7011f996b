import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempDisposableSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { resources } from '@w3filecoin/aggregator/resources'
import { bind, openTables } from '@w3filecoin/aws'
import { type Local, startLocal } from '@w3filecoin/local'
import { placesOf } from '@w3filecoin/local/provision'
import type { TableEngine } from '@w3filecoin/local/table-engine'
import { somePiece } from '@w3filecoin/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findServices } from '../../src/ops/services.ts'
import { localTarget } from '../../src/ops/target.ts'

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

/** Runs the command. */
const ops = (...args: string[]) => opsWith(process.env, ...args)

const opsWith = (env: NodeJS.ProcessEnv, ...args: string[]) =>
  new Promise<{ code: number; out: string; err: string }>(resolve => {
    execFile(process.execPath, [MAIN, 'ops', ...args], { env }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    )
  })

describe('npm run ops', () => {
  it('prints its help, and that of each command', async () => {
    const { code, out } = await ops('--help')
    expect(code).toBe(0)
    for (const word of ['trace', 'dlq', 'reconcile', 'seal', 'doctor', 'Exit codes', 'Examples'])
      expect(out).toContain(word)
    expect(await ops('-h')).toEqual({ code, out, err: '' })
    const reconcile = await ops('reconcile', '--help')
    for (const word of ['--data', '--stage', '--all', '--scan', '--send', '--json', 'default: 300'])
      expect(reconcile.out.replaceAll(/\s+/g, ' ')).toContain(word)
  })

  it.each([
    [{ npm_config_stage: 'production', npm_config_send: 'true' }, '--stage'],
    [{ npm_config_stage: '' }, '--stage'],
  ])('refuses to run without the options that npm consumed: %o', async (consumed, name) => {
    expect(await opsWith({ ...process.env, npm_lifecycle_event: 'ops', ...consumed }, 'dlq')).toEqual({
      code: 2,
      out: '',
      err: `w3fil: npm consumed ${name}\nPut options behind --, as in npm run ops -- ${name}\n`,
    })
  })

  it.each([
    { npm_lifecycle_event: 'test', npm_config_stage: 'production' },
    { npm_lifecycle_event: 'ops', npm_config_json: 'true', npm_config_all: '', npm_config_yes: 'true' },
  ])('ignores other variables of npm: %o', async env => {
    const { err } = await opsWith({ ...process.env, ...env }, 'dlq', '--data', '/nowhere')
    expect(err).toMatch(/^w3fil: No system is running on \/nowhere/)
  })

  it.each([
    ['an unknown command', ['drop'], "Unknown command 'drop'", 'ops'],
    [
      'two commands',
      ['dlq', 'reconcile'],
      "Too many arguments for 'dlq'. Expected 0 arguments but got 1: reconcile.",
      'ops dlq',
    ],
    [
      'an invalid limit',
      ['dlq', '--limit', '0'],
      "Option '--limit <n>' argument '0' is invalid. It must be a whole number from 1 to 10000.",
      'ops dlq',
    ],
    [
      'a limit with a dash',
      ['dlq', '--limit', '-1'],
      "Option '--limit <n>' argument '-1' is invalid. It must be a whole number from 1 to 10000.",
      'ops dlq',
    ],
    [
      'an invalid time',
      ['reconcile', '--overdue', 'x'],
      "Option '--overdue <sec>' argument 'x' is invalid. It must be a number of seconds from 0.",
      'ops reconcile',
    ],
    ['an empty stage', ['dlq', '--stage='], '--stage needs a value', 'ops dlq'],
    ['an empty directory', ['dlq', '--data', ''], '--data needs a value', 'ops dlq'],
    ['--all for dlq', ['dlq', '--all'], "Unknown option '--all'", 'ops dlq'],
    [
      'a letter that is both dropped and sent',
      ['dlq', '--drop', 'a', '--send'],
      "Option '--drop <message>' cannot be used with option '--send'",
      'ops dlq',
    ],
    [
      'a message id that is a path',
      ['dlq', '--drop', '../a'],
      "Option '--drop <message>' argument '../a' is invalid. It must be the id of a message: MESSAGE of ops dlq.",
      'ops dlq',
    ],
    ['a copy of no letter', ['dlq', '--copy', 'a'], '--copy needs --drop', 'ops dlq'],
    ['a trace of nothing', ['trace'], "Missing required argument 'cid'", 'ops trace'],
    [
      'the failure of an aggregate without a reason',
      ['order', 'drop', 'bafkzci'],
      "Required option '--reason <text>' not specified",
      'ops order drop',
    ],
    [
      'a reason that no message can have',
      ['order', 'drop', 'bafkzci', '--reason', 'x'.repeat(1_001)],
      `Option '--reason <text>' argument '${'x'.repeat(1_001)}' is invalid. It must have at most 1000 characters.`,
      'ops order drop',
    ],
    [
      'a target that no setting can have',
      ['target', 'pause', 'One'],
      "Command-argument value 'One' is invalid for argument 'name'. It must be the name of a target: 1 to 64 lower case letters, digits and hyphens.",
      'ops target pause',
    ],
    ['a seal of no group', ['seal'], "Missing required argument 'group'", 'ops seal'],
    [
      'a seal of two groups',
      ['seal', 'a', 'b'],
      "Too many arguments for 'seal'. Expected 1 argument but got 2: a, b.",
      'ops seal',
    ],
    [
      'two systems',
      ['dlq', '--data', 'x', '--stage', 'y'],
      "Option '--data <dir>' cannot be used with option '--stage <stage>'",
      'ops dlq',
    ],
  ])('refuses %s', async (_, args, line, command) => {
    expect(await ops(...args)).toEqual({
      code: 2,
      out: '',
      err: `w3fil: ${line}\nSee w3fil ${command} --help\n`,
    })
  })

  it.each([
    [
      'an unknown service',
      ['dlq', '--service', 'x'],
      'Unknown service: x. The services are storefront, aggregator, dealer, deal-tracker.',
    ],
    [
      'a queue of another service',
      ['dlq', '--service', 'dealer', '--queue', 'seal'],
      'Unknown queue: seal. The queues are track, report, retry, order, fill, translate, conclude.',
    ],
    [
      'a data directory without a running system',
      ['dlq', '--data', '/nowhere'],
      'No system is running on /nowhere. Start it with npm start, or pass --data or --stage.',
    ],
  ])('fails for %s', async (_, args, line) => {
    expect(await ops(...args)).toEqual({ code: 1, out: '', err: `w3fil: ${line}\n` })
  })
})

/** The engine for DynamoDB has a binary for this platform only. */
const ENGINES: TableEngine[] = [
  'sqlite',
  ...(`${process.platform}-${process.arch}` === 'linux-x64' ? (['dynamodb'] as const) : []),
]

describe.each(ENGINES)('npm run ops on a system with its tables in %s', engine => {
  const data = mkdtempSync(join(tmpdir(), 'w3filecoin-'))
  let local: Local
  let aggregator: ReturnType<typeof bind<typeof resources>>

  beforeAll(async () => {
    local = await startLocal({
      data,
      engine,
      everySeconds: 1,
      // Pieces stay pending: they are too few to be sealed.
      configure: (role, config) =>
        role === 'aggregator' ? { ...config, limits: { minPaddedBytes: 1024 } } : config,
    })
    Object.assign(process.env, local.engines.env)
    const places = placesOf({ resources, service: 'aggregator', sqs: local.engines.sqs })
    aggregator = bind(resources, places, await openTables(local.engines.env))
  })
  afterAll(async () => {
    await local?.stop()
    for (const name of Object.keys(local?.engines.env ?? {})) delete process.env[name]
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

  it('finds a running local system by its local.json', async () => {
    const system = localTarget(data)
    expect(system.env).toEqual(local.engines.env)
    for (const { resources } of findServices(undefined)) {
      const { service } = resources
      const { did, url } = local.services[service === 'deal-tracker' ? 'dealTracker' : service]!
      expect(await system.placesOf(service)).toEqual({
        ...placesOf({ resources, service, sqs: local.engines.sqs }),
        SERVICE_DID: did,
        SERVICE_KEYS: did,
        SERVICE_URL: url,
      })
    }

    const file = join(data, 'local.json')
    const text = readFileSync(file, 'utf8')
    writeFileSync(file, '{ "engines": {} }')
    expect(() => localTarget(data)).toThrow(/^Cannot read .*local\.json: .*resources\. Restart the system/)
    writeFileSync(file, text)

    using other = mkdtempDisposableSync(join(tmpdir(), 'w3filecoin-'))
    writeFileSync(join(other.path, 'local.json'), text)
    // An empty file is an empty SQLite database. (Copying the lock would drop it: this process holds it.)
    writeFileSync(join(other.path, 'lock'), '')
    expect(() => localTarget(other.path)).toThrow(/^No system is running on /)
    writeFileSync(join(other.path, 'lock'), 'not a database'.repeat(1_000))
    expect(() => localTarget(other.path)).toThrow(/^Cannot read the lock .*\/lock: file is not a database\./)
  })

  it('shows a dead letter and sends it back', async () => {
    await aggregator.queue('include').send([{ no: 'message' }])
    let dead = await json('dlq', '--queue', 'include')
    while (dead.lines.length === 0) dead = await json('dlq', '--queue', 'include')
    expect(dead.code).toBe(3)
    expect(dead.lines).toEqual([
      expect.objectContaining({
        service: 'aggregator',
        queue: 'include',
        attempts: 5,
        reason: [{ name: 'ZodError', message: expect.stringMatching(/^✖ Invalid input: .*→ at aggregate/s) }],
        at: expect.stringMatching(/packages\/runtime\/src\/messages\/message-format\.ts:\d+:\d+/),
        body: '{"no":"message"}',
        sent: false,
      }),
    ])
    await sleep(1100)
    const shown = await ops('dlq', '--data', data)
    expect(shown.code).toBe(3)
    expect(shown.out).toContain('aggregator include: 1 dead letter\n')
    expect(shown.out).toContain('1 dead letter in 20 queues; --send sends it back to its queue\n')

    await sleep(1100)
    expect(await json('dlq', '--send')).toMatchObject({ code: 0, lines: [{ sent: true }] })
    expect(await json('dlq')).toEqual({ code: 0, lines: [] })
  })

  it('drops a dead letter, and keeps a copy', async () => {
    await aggregator.queue('deal').send([{ no: 'use' }])
    let dead = await json('dlq', '--queue', 'deal')
    while (dead.lines.length === 0) dead = await json('dlq', '--queue', 'deal')
    const { message } = dead.lines[0]
    const copy = join(data, 'copy.json')
    await sleep(1100)
    expect(await json('dlq', '--drop', message, '--copy', copy)).toEqual({
      code: 0,
      lines: [{ service: 'aggregator', queue: 'deal', message, letters: 1, copy, dropped: true }],
    })
    expect(JSON.parse(readFileSync(copy, 'utf8'))).toMatchObject({
      message,
      letters: [{ body: '{"no":"use"}', postMortem: { attempts: 5 } }],
    })
    expect(await json('dlq', '--queue', 'deal')).toEqual({ code: 0, lines: [] })
    expect((await ops('dlq', '--drop', message, '--data', data)).err).toMatch(
      /^w3fil: No dead letter of the message .* in these 20 queues\. /,
    )
  })

  it('finds a record that no sweep sees, and sends its message', async () => {
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

    // It is missing from the index, which the command reads by default.
    expect(await json('reconcile')).toEqual({ code: 0, lines: [] })
    expect((await ops('reconcile', '--data', data)).out).toBe(
      'Nothing is stalled: the index of the sweeps, 0 records read\nA record that is missing from that index is not in this report: --scan reads whole tables\n',
    )
    expect(await json('reconcile', '--scan')).toMatchObject({
      code: 3,
      lines: [{ service: 'aggregator', table: 'piece', key: 'lost', stage: 'offered', sent: false }],
    })
    const shown = await ops('reconcile', '--scan', '--data', data)
    expect(shown.code).toBe(3)
    expect(shown.out).toContain('aggregator piece: 1 record\n')
    expect(shown.out).toContain('1 record stalled')

    expect(await json('reconcile', '--scan', '--send')).toMatchObject({
      code: 0,
      lines: [{ key: 'lost', sent: true }],
    })
    while ((await pieces.get({ id: 'lost' }))?.stage !== 'pending') await sleep(100)
    expect(await json('reconcile', '--scan')).toEqual({ code: 0, lines: [] })

    // Its group is endless.
    const idle = await json('reconcile', '--all')
    expect(idle).toMatchObject({ code: 0, lines: [{ table: 'group', stalled: false }] })
    await pieces.removeMany([{ id: 'lost' }])
  })

  it('reports an invalid record until it is repaired, and sends nothing for it', async () => {
    const pieces = aggregator.table<object>('piece')
    await pieces.putMany([{ id: 'odd', stage: 'offered', offeredAt: 'yesterday' }])
    for (const send of [[], ['--send']]) {
      const { code, out, err } = await ops('reconcile', '--scan', '--data', data, ...send)
      expect([code, err]).toEqual([3, ''])
      expect(out).toContain('Next: nothing is sent, because the record is invalid: yesterday is not a time\n')
      expect(await json('reconcile', '--scan', ...send)).toMatchObject({
        code: 3,
        lines: [{ key: 'odd', sent: false }],
      })
    }
    await pieces.removeMany([{ id: 'odd' }])
  })

  it('shows orders and the checks of targets, and pauses a target until it is resumed', async () => {
    const ran = async (...args: string[]) => {
      const { code, lines } = await json(...args)
      return { code, ...lines[0] }
    }
    expect(await ran('orders', '--stuck')).toEqual({
      code: 0,
      ok: true,
      command: 'ops orders',
      result: { lacking: [], orders: [], more: false },
    })
    expect(await ran('funds')).toMatchObject({ code: 0, command: 'ops funds', result: { targets: [] } })
    expect(await ran('target', 'pause', 'some-target', '--reason', 'It moves')).toMatchObject({
      code: 0,
      command: 'ops target pause',
      result: { target: 'some-target', reason: 'It moves' },
    })
    const listed = await ran('target', 'list')
    expect(listed.result.targets).toMatchObject([
      { name: 'some-target', state: 'paused', reason: 'It moves' },
    ])
    expect((await ran('target', 'resume', 'some-target')).code).toBe(0)
    const again = await ops('target', 'resume', 'some-target', '--data', data)
    expect(again).toEqual({
      code: 1,
      out: '',
      err: 'w3fil: The target some-target is not paused\nSee w3fil ops target list.\n',
    })
    const unknown = await ops('order', 'retry', `${somePiece('no order')}`, '--data', data)
    expect([unknown.code, unknown.err.split('\n')[0]]).toEqual([
      1,
      `w3fil: The dealer has no offer of ${somePiece('no order')}`,
    ])
  })

  it.runIf(engine === 'dynamodb')('finds the resources of a stage in the Parameter Store', async () => {
    // A stand-in for the Parameter Store, which is not among the local engines.
    const { resources: places } = JSON.parse(readFileSync(join(data, 'local.json'), 'utf8'))
    const store = createServer(async (request, response) => {
      const { Name } = JSON.parse((await request.toArray()).join(''))
      const [, , stage, service] = Name.split('/')
      const value = {
        production: places[service],
        gone: Object.fromEntries(
          Object.entries<string>(places[service] ?? {}).map(([name, place]) => [
            name,
            place.replace(/:\d+\//, ':9/'),
          ]),
        ),
        broken: { ...places[service], DEAD_LETTER_RETRY: `${places[service].DEAD_LETTER_RETRY}-gone` },
      }[stage as string]
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
    const { code, out, err } = await opsWith(env, 'reconcile', '--scan', '--stage', 'production', '--json')
    expect([code, err]).toEqual([3, ''])
    expect(JSON.parse(out)).toMatchObject({ service: 'aggregator', key: 'stalled', sent: false })
    const unknown = `${somePiece('unknown')}`
    const notFound = await opsWith(env, 'trace', unknown, '--stage', 'production')
    expect([notFound.code, notFound.err.split('\n')[0]]).toEqual([
      1,
      `w3fil: No service has a record of ${unknown}. Searched:`,
    ])
    const noTables = { ...env, AWS_ENDPOINT_URL_DYNAMODB: 'http://127.0.0.1:9' }
    expect(await opsWith(noTables, 'trace', unknown, '--stage', 'production')).toEqual({
      code: 1,
      out: '',
      err: expect.stringMatching(/^w3fil: .*ECONNREFUSED.*\n$/),
    })
    expect(await opsWith(env, 'dlq', '--stage', 'production', '--service', 'dealer')).toEqual({
      code: 0,
      out: 'No dead letters in 7 queues\n',
      err: '',
    })
    expect(await opsWith(env, 'dlq', '--stage', 'other', '--service', 'dealer')).toEqual({
      code: 1,
      out: '',
      err: 'w3fil: Stage other does not exist in this account and region: the Parameter Store has no /w3filecoin/other/dealer. Check --stage, AWS_PROFILE and AWS_REGION.\n',
    })

    // If one queue fails, the command shows the remaining queues and names the failed one.
    const failed = await opsWith(env, 'dlq', '--stage', 'broken', '--service', 'dealer')
    expect(failed).toMatchObject({ code: 1, err: '' })
    expect(failed.out).toBe(
      'dealer retry: failed\n  QueueDoesNotExist: The specified queue does not exist.\n\nNo dead letters in 6 queues; one queue failed\n',
    )
    const line = await opsWith(env, 'dlq', '--stage', 'broken', '--service', 'dealer', '--json')
    expect([line.code, JSON.parse(line.out)]).toMatchObject([1, { service: 'dealer', queue: 'retry' }])
    expect(JSON.parse(line.out).failed).toContain('QueueDoesNotExist')

    // If nothing listens at the address of SQS, the error is one line.
    const unreachable = { ...env, AWS_ENDPOINT_URL_SQS: 'http://127.0.0.1:9' }
    const { code: one, err: why } = await opsWith(unreachable, 'dlq', '--stage', 'gone')
    expect([one, why.split('\n')]).toEqual([1, [expect.stringContaining('ECONNREFUSED'), '']])
    store.close()
  })

  it('has one group sealed below its minimum', async () => {
    const storefront = local.services.storefront!.did
    const groups = aggregator.table<{ id: string; sequence: number }>('group')
    const piece = {
      id: 'small',
      piece: `${somePiece('small')}`,
      size: 128,
      offeredAt: Date.now(),
    }
    const mine = { storefront, group: 'small' }
    const put = (table: 'group' | 'piece' | 'pending', row: object) =>
      aggregator.table<object>(table).putMany([row])
    await put('piece', { ...piece, ...mine, stage: 'pending', accept: new Uint8Array(1) })
    await put('pending', { ...piece, group: 'mine', order: `1-0${piece.offeredAt}-small` })
    await put('group', { ...mine, id: 'mine', sequence: 0, open: [] })
    await aggregator.table<object>('tally').add({ id: 'mine' }, { pieces: 1, bytes: 128 })

    const sealed = await ops('seal', 'small', '--storefront', storefront, '--data', data)
    expect(sealed).toEqual({
      code: 0,
      out: `Group small of ${storefront}: a seal of about 1 piece, 128 B, is requested\n`,
      err: '',
    })
    while ((await groups.get({ id: 'mine' }))?.sequence !== 1) await sleep(100)
  })
})
