import { SendMessageCommand } from '@aws-sdk/client-sqs'
import { resources as aggregatorResources } from '@w3filecoin/aggregator/resources'
import { openTables, type Tables } from '@w3filecoin/aws'
import { resources as dealerResources } from '@w3filecoin/dealer/resources'
import { sqsClient } from '@w3filecoin/local/engines'
import { placesOf } from '@w3filecoin/local/provision'
import { dueAt, type HealthRecord } from '@w3filecoin/runtime'
import { resources as storefrontResources } from '@w3filecoin/storefront/resources'
import { type Provided, startWorld, type World } from '@w3filecoin/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findServices } from '../../src/ops/services.ts'
import { readStatus, type Status } from '../../src/ops/status.ts'
import { formatAge, statusLines } from '../../src/ops/status-display.ts'
import type { Target } from '../../src/ops/target.ts'

const NOW = Date.UTC(2026, 0, 1)
const HOUR = 3_600_000

let world: World
let aggregator: Provided<typeof aggregatorResources>
let dealer: Provided<typeof dealerResources>
let storefront: Provided<typeof storefrontResources>
let tables: Tables | undefined
let target: Target
let client: ReturnType<typeof sqsClient>

beforeAll(async () => {
  world = await startWorld()
  const sqs = process.env.AWS_ENDPOINT_URL_SQS as string
  tables = await openTables(world.env)
  aggregator = await world.provide(aggregatorResources)
  dealer = await world.provide(dealerResources)
  storefront = await world.provide(storefrontResources)
  client = sqsClient({ sqs } as never)
  const places = Object.fromEntries(
    [aggregatorResources, dealerResources, storefrontResources].map(resources => [
      resources.service,
      placesOf({ resources, service: resources.service, sqs }),
    ]),
  )
  target = { env: {}, placesOf: async service => places[service] ?? {} }
})
afterAll(() => {
  client.destroy()
  return world.stop()
})

const read = (service: string, limit = 1000) =>
  readStatus({ target, tables, client, services: findServices(service), limit, now: () => NOW })

const row = (service: string, fields: Partial<HealthRecord>): HealthRecord => ({
  service,
  name: 'hasher',
  check: 'hasher',
  ok: true,
  message: 'fine',
  since: NOW - HOUR,
  checkedAt: NOW,
  ...fields,
})

describe('ops status', () => {
  it('asks for the checks of a service that has none yet, or whose checks do not run', async () => {
    expect((await read('dealer')).attention).toEqual([
      'dealer: no check has run yet. Its schedule check runs every 300 seconds',
    ])
    await dealer.table<HealthRecord>('health').putMany([row('dealer', { checkedAt: NOW - HOUR })])
    expect((await read('dealer')).attention).toEqual([
      'dealer: its checks ran last at 2025-12-31T23:00:00.000Z. See the log of its schedule check',
    ])
    await dealer.table<HealthRecord>('health').putMany([row('dealer', {})])
    expect((await read('dealer')).attention).toEqual([])
  })

  it('finds overdue records, and records that need an operator', async () => {
    const put = (id: string, fields: object, checkAt: number) =>
      dealer
        .table('aggregate')
        .putMany([{ id, stage: 'offered', offeredAt: NOW - 5 * HOUR, ...fields, ...dueAt(id, checkAt) }])
    await put('fine', {}, NOW + HOUR)
    await put('late', {}, NOW - HOUR)
    await put('stuck', { waitsFor: 'the deal tracker is blind', offeredAt: NOW - 9 * HOUR }, NOW + HOUR)
    const { attention, stages } = await read('dealer')
    expect(attention).toEqual([
      'dealer aggregate: 1 record cannot go on: the deal tracker is blind',
      'dealer aggregate: 1 record overdue: the schedule sweep does not run, or fails. See its log, then npm run ops -- reconcile',
    ])
    expect(stages).toEqual([
      {
        service: 'dealer',
        table: 'aggregate',
        stage: 'offered',
        records: 3,
        more: false,
        oldest: NOW - 9 * HOUR,
        why: 'a copy of it must be live on chain',
      },
    ])
  })

  it('finds stuck orders, each copy for itself, orders without a door, and payloads with problems for a day', async () => {
    const order = (copy: number, fields: object) => {
      const id = `order ${copy}`
      const key = { offer: 'an offer', order: `0${copy}/0000`, id, copy, attempt: 0 }
      return { ...key, stage: 'refused', stageAt: NOW - HOUR, ...fields, ...dueAt(id, NOW + HOUR, 'waiting') }
    }
    const door = { message: 'The configuration has no `door`', at: NOW, times: 1 }
    await dealer
      .table('order')
      .putMany([
        order(0, { stuck: 'no target is left' }),
        order(1, { stuck: 'no target is left' }),
        order(2, { stage: 'planned', trouble: door }),
        order(3, { stage: 'live' }),
      ])
    const trouble = { message: 'the storefront answers 503', at: NOW, times: 9 }
    const whole = (id: string, hours: number, fields: object = {}) => ({
      ...{ id, stage: 'filling', stageAt: NOW - hours * HOUR, upload: id, ...fields },
      ...dueAt(id, NOW + HOUR),
    })
    await dealer
      .table('whole')
      .putMany([whole('new', 1, { trouble }), whole('old', 25, { trouble }), whole('long', 25)])
    const { attention, stages } = await read('dealer')
    const ofRecords = (lines: readonly string[]) =>
      lines.filter(line => / (order|whole): /.test(line)).toSorted()
    expect(ofRecords(attention)).toEqual([
      'dealer order: 1 record cannot go on: The configuration has no `door`',
      'dealer order: 2 records cannot go on: no target is left',
      'dealer whole: 1 record cannot go on: its parts must be written: the storefront answers 503',
    ])
    // The check of orders names them once it has run.
    const check = { service: 'dealer', name: 'orders', check: 'order', since: NOW, checkedAt: NOW }
    const message = '2 orders of the dealer need an operator'
    await dealer.table('health').putMany([{ ...check, ok: false, problem: 'OrdersStuck', message }])
    const checked = (await read('dealer')).attention
    expect(checked).toContain(`dealer: ${message}`)
    expect(ofRecords(checked)).toEqual([
      'dealer whole: 1 record cannot go on: its parts must be written: the storefront answers 503',
    ])
    await dealer.table('health').removeMany([{ service: 'dealer', name: 'orders' }])
    expect(stages.find(({ table }) => table === 'whole')).toMatchObject({
      records: 3,
      why: 'the storefront answers 503 (2 of them)',
    })
    for (const table of ['order', 'whole'] as const)
      for await (const rows of dealer.scan(table))
        await dealer
          .table(table)
          .removeMany(
            rows.map(({ id, offer, order }) =>
              table === 'whole' ? { id: `${id}` } : { offer: `${offer}`, order: `${order}` },
            ),
          )
  })

  it('explains a stage by the failing check of the party that must act', async () => {
    const name = 'peer dealTracker did:web:tracker.test'
    const failed = row('dealer', {
      name,
      check: 'peer',
      setting: 'dealTracker',
      subject: 'did:web:tracker.test',
      ok: false,
      problem: 'PeerUnreachable',
      message: 'it cannot be reached',
    })
    await dealer.table<HealthRecord>('health').putMany([failed])
    const { attention, stages } = await read('dealer')
    expect(stages[0]!.why).toBe('dealTracker: it cannot be reached')
    expect(attention[0]).toBe('dealer: it cannot be reached')
  })

  it('counts dead letters and messages of each queue', async () => {
    await dealer.queue('report').send([{ a: 1 }, { a: 2 }])
    const { DEAD_LETTER_REPORT } = await target.placesOf('dealer')
    await client.send(new SendMessageCommand({ QueueUrl: DEAD_LETTER_REPORT, MessageBody: '{}' }))
    const { queues, attention } = await read('dealer')
    expect(attention).toContain(
      'dealer report: 1 dead letter. See npm run ops -- dlq --service dealer --queue report',
    )
    expect(queues.find(({ queue }) => queue === 'report')).toEqual({
      service: 'dealer',
      queue: 'report',
      visible: 2,
      inFlight: 0,
      delayed: 0,
      deadLetters: 1,
    })
  })

  it('counts pieces that wait by the groups and aggregates that cover them', async () => {
    const waiting = (id: string, at: number, fields: object) => ({
      id,
      history: [{ stage: 'queued', at }],
      ...fields,
    })
    await storefront.table<object>('piece').putMany([
      ...[1, 2, 3].map(n =>
        waiting(`queued ${n}`, NOW - n * HOUR, {
          stage: 'queued',
          group: 'g',
          queuedIn: `g#${n}`,
          queuedAt: n,
          // Earlier code scheduled a check, too.
          ...(n === 3 && dueAt(`queued ${n}`, NOW + HOUR)),
        }),
      ),
      waiting('aggregated', NOW - HOUR, { stage: 'aggregated', aggregateId: 'a', memberOf: 'a#7' }),
    ])
    const empty = { stage: 'accepted', emptyAt: NOW - HOUR }
    const [group, aggregate] = [storefront.table<object>('group'), storefront.table<object>('aggregate')]
    await group.putMany([{ id: 'g', stage: 'polled', ...dueAt('g', NOW + HOUR) }])
    await aggregate.putMany([
      { id: 'a', stage: 'offered', ...dueAt('a', NOW + HOUR) },
      { id: 'settled', ...empty, ...dueAt('settled', NOW + HOUR) },
    ])
    const seen = async (limit?: number) =>
      (await read('storefront', limit)).stages
        .filter(({ table }) => table === 'piece')
        .map(({ stage, records, more, oldest }) => ({ stage, records, more, oldest }))
    expect(await seen()).toEqual([
      { stage: 'queued', records: 3, more: false, oldest: NOW - 3 * HOUR },
      { stage: 'aggregated', records: 1, more: false, oldest: NOW - HOUR },
    ])
    expect(await seen(1)).toMatchObject([{ stage: 'queued', more: true }])
    const { stages } = await read('storefront')
    expect(stages.filter(({ table }) => table === 'aggregate')).toMatchObject([
      { stage: 'offered', records: 1 },
    ])
  })

  it('stops at the limit, and says that there are more', async () => {
    await aggregator.table<HealthRecord>('health').putMany([row('aggregator', {})])
    const records = Array.from({ length: 260 }, (_, n) => `piece ${n}`)
    await aggregator
      .table('piece')
      .putMany(records.map(id => ({ id, stage: 'offered', offeredAt: NOW, ...dueAt(id, NOW + HOUR) })))
    const all = await read('aggregator')
    expect(all.stages).toMatchObject([{ table: 'piece', stage: 'offered', records: 260, more: false }])
    const [some] = (await read('aggregator', 20)).stages
    expect(some!.more).toBe(true)
    expect(some!.records).toBeGreaterThanOrEqual(20)
    expect(some!.records).toBeLessThan(260)
    expect(statusLines(await read('aggregator', 20), NOW).join('\n')).toMatch(
      /aggregator piece offered +more than \d+ /,
    )
  })

  it('shows the first 100 peers in the table, with the pieces of today of those that have a bound', async () => {
    const peers = Array.from({ length: 103 }, (_, n) => ({
      did: `did:web:${`${n}`.padStart(3, '0')}.example`,
      list: 'storefronts',
      addedAt: NOW,
    }))
    const bounded = { ...peers[1]!, url: 'https://001.example', piecesPerDay: 1_000 }
    const unused = { ...peers[2]!, piecesPerDay: 5 }
    const invalid = { ...peers[3]!, url: 1, piecesPerDay: 'many' }
    await aggregator.table('peer').putMany([...peers, bounded, unused, invalid])
    for (const day of ['2025-12-31', '2026-01-01'])
      await aggregator.table('quota').putMany([{ storefront: bounded.did, day, pieces: 12, expiresAt: 1 }])
    const status = await read('aggregator')
    const [table] = status.peers
    expect(status.peers).toMatchObject([{ service: 'aggregator', records: 103, more: false }])
    expect(table!.peers.map(({ did }) => did)).toEqual(peers.slice(0, 100).map(({ did }) => did))
    expect(table!.peers.slice(0, 4)).toEqual([
      peers[0],
      { ...bounded, piecesToday: 12 },
      { ...unused, piecesToday: 0 },
      peers[3],
    ])
    const lines = statusLines(status, NOW).join('\n')
    expect(lines).toMatch(
      /storefronts +did:web:001\.example +0 s +12 of 1,000 pieces +https:\/\/001\.example/,
    )
    expect(lines).toContain('and 83 more')
    expect((await read('dealer')).peers).toEqual([])
  })

  it('refuses a system of an earlier version', async () => {
    const earlier: Target = { env: {}, placesOf: async () => ({ TABLE_PIECE: 'piece' }) }
    const options = { target: earlier, tables, client, limit: 10, now: () => NOW }
    await expect(readStatus({ ...options, services: findServices('dealer') })).rejects.toThrow(
      'The system does not name the table health of dealer: it runs another version.',
    )
  })
})

describe('the screen of ops status', () => {
  const empty: Status = {
    attention: [],
    stages: [],
    groups: [],
    checks: [],
    peers: [],
    sources: [],
    queues: [],
  }

  it('begins with what needs attention, whole', () => {
    const long = `dealer: ${'word '.repeat(60)}end`
    expect(statusLines({ ...empty, attention: [long] }, NOW).slice(0, 3)).toEqual([
      'One thing needs attention:',
      `  ${long}`,
      '',
    ])
    expect(statusLines({ ...empty, attention: ['a', 'b'] }, NOW)[0]).toBe('2 things need attention:')
  })

  it('fits into the columns of the terminal', () => {
    const stage = {
      service: 'dealer',
      table: 'aggregate',
      stage: 'offered',
      records: 2,
      more: false,
      oldest: NOW,
    }
    const check = {
      ...row('dealer', {}),
      check: 'pieces' as const,
      subject: 'did:web:a-very-long-name.of-a.storefront.example',
    }
    const lines = statusLines(
      {
        ...empty,
        attention: [`dealer: ${'word '.repeat(60)}end`],
        stages: [{ ...stage, why: 'its deal must be on chain '.repeat(9) } as Status['stages'][number]],
        checks: [{ ...check, name: `pieces ${check.subject}`.padEnd(120, '.') }],
      },
      NOW,
      80,
    )
    expect(lines.filter(line => line.length > 80)).toEqual([])
    expect(lines.join('\n')).toContain('its deal must be on chain')
  })

  it('shows the queues that have messages, and replaces control characters', () => {
    const queue = { service: 'dealer', queue: 'track', visible: 0, inFlight: 0, delayed: 0, deadLetters: 0 }
    const busy = { ...queue, queue: 'report', visible: 1234, deadLetters: 1 }
    const lines = statusLines({ ...empty, attention: ['\u001b[31mred'], queues: [queue, busy] }, NOW)
    expect(lines[1]).toBe('  ?[31mred')
    expect(lines.slice(-3)).toEqual([
      'QUEUES',
      '  QUEUE          VISIBLE  IN FLIGHT  DELAYED  DEAD LETTERS',
      '  dealer report  1,234    0          0        1',
    ])
    expect(statusLines({ ...empty, queues: [queue] }, NOW).at(-1)).toBe('QUEUES: all 1 are empty')
  })

  it.each([
    [-5, '0 s'],
    [59_999, '59 s'],
    [7_300_000, '2 h'],
    [200_000_000, '2 d'],
  ])('formats an age of %d ms', (ms, text) => expect(formatAge(ms)).toBe(text))
})
