import { pieceMessage } from '@w3filecoin/aggregator/queues'
import { resources as aggregatorResources } from '@w3filecoin/aggregator/resources'
import { unfinished as aggregatorUnfinished } from '@w3filecoin/aggregator/unfinished'
import { openTables, type Tables } from '@w3filecoin/aws'
import { resources as trackerResources } from '@w3filecoin/deal-tracker/resources'
import { resources as dealerResources } from '@w3filecoin/dealer/resources'
import { placesOf } from '@w3filecoin/local/provision'
import { DUE, type Due, dueAt, openQueues, sendAll, sweep, sweepAll } from '@w3filecoin/runtime'
import { resources as storefrontResources } from '@w3filecoin/storefront/resources'
import { startWorld, type World } from '@w3filecoin/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { reconcile, type TableReport } from '../../src/ops/reconcile.ts'
import { findServices } from '../../src/ops/services.ts'
import type { Target } from '../../src/ops/target.ts'

const NOW = Date.UTC(2026, 0, 1)
const MINUTE = 60_000
const GRACE = 5 * MINUTE
/** Overdue for longer than the sweep may be late. */
const LATE = NOW - GRACE - 1

let world: World
let target: Target
let tables: Tables | undefined
let storefront: Awaited<ReturnType<typeof provideStorefront>>
let aggregator: Awaited<ReturnType<typeof provideAggregator>>
let dealer: Awaited<ReturnType<typeof provideDealer>>
let tracker: Awaited<ReturnType<typeof provideTracker>>
const provideStorefront = () => world.provide(storefrontResources)
const provideAggregator = () => world.provide(aggregatorResources)
const provideDealer = () => world.provide(dealerResources)
const provideTracker = () => world.provide(trackerResources)

beforeAll(async () => {
  world = await startWorld()
  const sqs = process.env.AWS_ENDPOINT_URL_SQS as string
  tables = await openTables(world.env)
  storefront = await provideStorefront()
  aggregator = await provideAggregator()
  dealer = await provideDealer()
  tracker = await provideTracker()
  target = {
    env: {},
    placesOf: async service => placesOf({ resources: findServices(service)[0]!.resources, service, sqs }),
  }
})
afterAll(() => world.stop())

const run = async (
  service: string | undefined,
  {
    scan = true,
    all = false,
    send = false,
    limit = 100,
  }: { scan?: boolean; all?: boolean; send?: boolean; limit?: number } = {},
): Promise<TableReport[]> => {
  const reports: TableReport[] = []
  const services = findServices(service)
  for await (const report of reconcile({
    target,
    tables,
    services,
    segments: scan ? 3 : undefined,
    all,
    send,
    limit,
    graceMs: GRACE,
    now: () => NOW,
  }))
    reports.push(report)
  return reports
}
const keys = (reports: TableReport[]) =>
  Object.fromEntries(
    reports.map(({ service, table, found }) => [`${service} ${table}`, found.map(({ key }) => key).sort()]),
  )
const bodies = (messages: { Body?: string | undefined }[]) =>
  messages
    .map(({ Body }) => {
      const { v, ...message } = JSON.parse(Body!)
      expect(v).toBe(1)
      return message
    })
    .sort()

const pieces = () => aggregator.table<Due & { id: string; stage: string }>('piece')
const offered = { stage: 'offered', offeredAt: NOW - 60 * MINUTE }

describe('reconcile', () => {
  const ids = ['none', 'late', 'soon', 'later', 'blind', 'listed', 'done']
  afterAll(() => pieces().removeMany(ids.map(id => ({ id }))))
  beforeEach(async () => {
    await pieces().removeMany(ids.map(id => ({ id })))
    await pieces().putMany([
      { id: 'none', ...offered },
      { id: 'late', ...offered, ...dueAt('late', LATE) },
      { id: 'soon', ...offered, ...dueAt('soon', NOW - GRACE + MINUTE) },
      { id: 'later', ...offered, ...dueAt('later', NOW + MINUTE) },
      // In no shard of the index.
      { id: 'blind', ...offered, checkAt: NOW + MINUTE },
      { ...offered, id: 'listed', stage: 'pending' },
      { ...offered, id: 'done', stage: 'included' },
    ])
  })

  it('reports records that no sweep sees, or sees too late, and changes nothing', async () => {
    const [report] = await run('aggregator')
    expect(report).toMatchObject({ table: 'piece', read: 7, unfinished: 5, more: false })
    expect(report!.found.sort((a, b) => (a.key < b.key ? -1 : 1))).toEqual([
      expect.objectContaining({ key: 'blind', stage: 'offered', checkAt: undefined }),
      expect.objectContaining({ key: 'late', checkAt: LATE, messages: { piece: [{ id: 'late' }] } }),
      expect.objectContaining({
        key: 'none',
        checkAt: undefined,
        since: offered.offeredAt,
        next: 'it must be added to the list of its group',
        messages: { piece: [{ id: 'none' }] },
      }),
    ])
    expect(keys(await run('aggregator'))['aggregator piece']).toEqual(['blind', 'late', 'none'])
    expect(await aggregator.drain('piece')).toEqual([])
    expect(await pieces().get({ id: 'none' })).not.toHaveProperty('checkAt')
  })

  it('sends the message of the sweep, and schedules the next check', async () => {
    await run('aggregator', { send: true })
    const sent = bodies(await aggregator.drain('piece')).map(({ id }) => id)
    expect(sent.sort()).toEqual(['blind', 'late', 'none'])
    expect(keys(await run('aggregator'))['aggregator piece']).toEqual([])

    const { checkAt, due } = dueAt('none', NOW + GRACE) as { checkAt: number; due: string }
    expect(await pieces().get({ id: 'none' })).toMatchObject({ checkAt, due, revision: 2 })
    const { items } = await pieces().find(DUE, due, { limit: 10, upTo: checkAt })
    expect(items).toContainEqual({ id: 'none' })

    // Assume that the message was lost: the sweep sends it again.
    await sweepAll(
      [
        sweep({
          kind: 'piece',
          table: pieces(),
          intervalMs: () => MINUTE,
          longestMs: { own: MINUTE, waiting: MINUTE },
          resend: records =>
            sendAll(
              openQueues(aggregator, { piece: pieceMessage }),
              aggregatorUnfinished.piece.messages(records as never) as never,
            ),
        }),
      ],
      { now: () => checkAt, metrics: () => {}, timeoutSeconds: 55 },
    )
    expect(bodies(await aggregator.drain('piece')).map(({ id }) => id)).toContain('none')
  })

  it('reports a check as stalled that lies further ahead than its interval: a wrong clock has set it', async () => {
    const days = (n: number) => NOW + n * 24 * 60 * MINUTE
    await pieces().putMany([
      { id: 'late', ...offered, ...dueAt('late', days(10)) },
      { id: 'soon', ...offered, ...dueAt('soon', NOW + 60 * MINUTE) },
    ])
    const aggregated = { stage: 'aggregated', aggregateId: 'a', history: [] }
    const own = storefront.table<object>('piece')
    await own.putMany([
      { id: 'week', ...aggregated, ...dueAt('week', days(7)) },
      { id: 'ahead', ...aggregated, ...dueAt('ahead', days(10)) },
    ])
    const found = [...(await run('aggregator')), ...(await run('storefront'))].flatMap(({ found }) => found)
    expect(found).toContainEqual(expect.objectContaining({ key: 'late', stalled: true, wrongClock: true }))
    expect(found).toContainEqual(expect.objectContaining({ key: 'ahead', stalled: true, wrongClock: true }))
    for (const key of ['soon', 'week']) expect(found.map(({ key }) => key)).not.toContain(key)
    await own.removeMany([{ id: 'week' }, { id: 'ahead' }])
  })

  it('reports a piece without a check as stalled only if the record that covers it has none, or is missing', async () => {
    const rows = {
      piece: [
        { id: 'in group', stage: 'queued', group: 'g', queuedIn: 'g#1', queuedAt: 1, history: [] },
        { id: 'in idle', stage: 'queued', group: 'idle', queuedIn: 'idle#1', queuedAt: 1, history: [] },
        { id: 'in a', stage: 'aggregated', aggregateId: 'a', memberOf: 'a#2', history: [] },
        { id: 'in lost', stage: 'aggregated', aggregateId: 'lost', memberOf: 'lost#2', history: [] },
        { id: 'in no index', stage: 'queued', group: 'g', history: [] },
      ],
      group: [
        { id: 'g', stage: 'polled', ...dueAt('g', NOW + MINUTE) },
        { id: 'idle', stage: 'idle' },
      ],
      aggregate: [{ id: 'a', stage: 'offered', ...dueAt('a', NOW + MINUTE) }],
    }
    for (const [table, some] of Object.entries(rows))
      await storefront.table<object>(table as never).putMany(some)
    const stalled = ['in idle', 'in lost', 'in no index']
    expect(keys(await run('storefront'))['storefront piece']).toEqual(stalled)
    expect(keys(await run('storefront', { scan: false }))['storefront piece']).toEqual([])
    const [all] = await run('storefront', { scan: false, all: true })
    expect(all!.found.map(({ key, stalled, checkAt }) => [key, stalled, checkAt]).sort()).toEqual([
      ['in a', false, NOW + MINUTE],
      ['in group', false, NOW + MINUTE],
    ])
    await run('storefront', { send: true })
    expect(
      bodies(await storefront.drain('poll'))
        .flatMap(({ pieces }) => pieces)
        .sort(),
    ).toEqual(['in idle', 'in no index'])
    expect(bodies(await storefront.drain('outcome'))).toEqual([{ aggregate: 'lost', pieces: ['in lost'] }])
    for (const [table, some] of Object.entries(rows))
      await storefront.table<object>(table as never).removeMany(some.map(({ id }) => ({ id })))
  })

  it('reports at most the limit of a table, and that there are more', async () => {
    const [report] = await run('aggregator', { limit: 2, send: true })
    expect([report!.found.length, report!.more]).toEqual([2, true])
    const [rest] = await run('aggregator', { limit: 2, send: true })
    expect([rest!.found.length, rest!.more]).toEqual([1, false])
    expect(await aggregator.drain('piece')).toHaveLength(3)
  })
})

describe('without --scan', () => {
  const days = (n: number) => NOW + n * 24 * 60 * MINUTE
  const waiting = { stage: 'offered', offeredAt: NOW - 60 * MINUTE, ...dueAt('asks', NOW + MINUTE) }
  const rows = [
    { id: 'none', ...offered },
    { id: 'blind', ...offered, checkAt: LATE },
    { id: 'late', ...offered, ...dueAt('late', LATE) },
    { id: 'soon', ...offered, ...dueAt('soon', NOW - GRACE + MINUTE) },
    { id: 'later', ...offered, ...dueAt('later', NOW + MINUTE) },
    { id: 'ahead', ...offered, ...dueAt('ahead', days(10)) },
    { id: 'done', ...offered, stage: 'included', ...dueAt('done', LATE) },
  ]
  const aggregates = () => dealer.table<object>('aggregate' as never)
  const asking = { id: 'asks', ...waiting, waitsFor: 'the deal tracker does not answer' }
  beforeAll(async () => {
    await pieces().putMany(rows)
    await aggregates().putMany([asking, { ...waiting, id: 'waits' }])
  })
  afterAll(async () => {
    await pieces().removeMany(rows.map(({ id }) => ({ id })))
    await aggregates().removeMany([{ id: 'asks' }, { id: 'waits' }])
  })

  it('the stalled records of the index are reported, and of pieces only these are read', async () => {
    const [report] = await run('aggregator', { scan: false })
    expect(report).toMatchObject({ isScanned: false, read: 3, unfinished: 2, more: false })
    expect(report!.found.map(({ key, wrongClock }) => [key, wrongClock]).sort()).toEqual([
      ['ahead', true],
      ['late', undefined],
    ])
    expect(keys(await run('dealer', { scan: false }))).toMatchObject({ 'dealer aggregate': ['asks'] })
    // A source has no index: its table is read.
    expect(await run('deal-tracker', { scan: false })).toMatchObject([{ table: 'source', isScanned: true }])
  })

  it('--all reports every record of the index, and --scan also those that are missing from it', async () => {
    const all = { all: true, limit: 100 }
    const indexed = ['ahead', 'late', 'later', 'soon']
    expect(keys(await run('aggregator', { scan: false, ...all }))['aggregator piece']).toEqual(indexed)
    expect(keys(await run('aggregator', all))['aggregator piece']).toEqual(
      [...indexed, 'blind', 'none'].sort(),
    )
    expect(await aggregator.drain('piece')).toEqual([])
  })

  it('at most the limit is reported and sent, and each record once', async () => {
    const [report] = await run('aggregator', { scan: false, all: true, limit: 3 })
    expect([report!.found.length, report!.more]).toEqual([3, true])
    const [sent] = await run('aggregator', { scan: false, all: true, send: true })
    expect(sent!.found).toHaveLength(4)
    expect(bodies(await aggregator.drain('piece'))).toHaveLength(4)
    expect(keys(await run('aggregator', { scan: false }))['aggregator piece']).toEqual([])
  })
})

describe('an invalid record', () => {
  const cases: [string, 'storefront' | 'aggregator', string, object, string][] = [
    ['no revision', 'aggregator', 'piece', { stage: 'offered', offeredAt: NOW }, 'it has no revision'],
    [
      'an invalid time',
      'aggregator',
      'piece',
      { stage: 'offered', offeredAt: 'yesterday', revision: 1 },
      'yesterday is not a time',
    ],
    [
      'an unknown stage',
      'storefront',
      'piece',
      { stage: 'lost', history: [], revision: 1 },
      'no message belongs to its stage',
    ],
    ['no ranges', 'aggregator', 'aggregate', { stage: 'accepted', revision: 1 }, 'TypeError: '],
    ['no history', 'storefront', 'piece', { stage: 'offered', revision: 1 }, 'TypeError: '],
  ]

  it.each(cases)('is reported, and nothing is sent for it: %s', async (_, service, table, record, why) => {
    const queue = service === 'aggregator' ? 'piece' : 'submit'
    const bound = { storefront, aggregator }[service] as typeof aggregator
    const id = 'odd'
    await bound
      .table<object>(table as never)
      .putMany([{ id: 'fine', openRanges: [], history: [], ...offered }])
    // `add` writes no revision.
    await bound.table<object>(table as never).add({ id }, { count: 0 }, record)

    const reports = await run(service, { send: true })
    expect(reports.map(({ table }) => table)).toEqual(Object.keys(findServices(service)[0]!.unfinished))
    const { found } = reports.find(report => report.table === table)!
    expect(found.find(({ key }) => key === 'odd')).toMatchObject({
      valid: false,
      next: expect.stringContaining(`nothing is sent, because the record is invalid: ${why}`),
      messages: {},
    })
    expect(found.find(({ key }) => key === 'fine')).toMatchObject({ valid: true })
    expect(JSON.stringify(bodies(await bound.drain(queue as never)))).not.toContain('odd')
    const item = await bound.table<object>(table as never).get({ id })
    expect(item).toEqual({ ...record, id, count: 0 })
    await bound.table<object>(table as never).removeMany([{ id }, { id: 'fine' }])
    for (const name of ['aggregation', 'deal', 'include'])
      if (name in findServices(service)[0]!.resources.queues) await bound.drain(name as never)
  })
})

describe('with --all', () => {
  it('records that are not overdue are reported too, and their messages are sent', async () => {
    await pieces().putMany([
      { id: 'later', ...offered, ...dueAt('later', NOW + MINUTE) },
      { ...offered, id: 'done', stage: 'included' },
    ])
    const [report] = await run('aggregator', { all: true })
    expect(report!.found).toMatchObject([{ key: 'later', stalled: false, checkAt: NOW + MINUTE }])
    await run('aggregator', { all: true, send: true })
    expect(bodies(await aggregator.drain('piece'))).toEqual([{ id: 'later' }])
    // The time of its next check stays.
    expect(await pieces().get({ id: 'later' })).toMatchObject({ checkAt: NOW + MINUTE, revision: 1 })
    await pieces().removeMany([{ id: 'later' }, { id: 'done' }])
  })

  it('groups, which never finish, are not counted, but their messages are sent', async () => {
    const groups = aggregator.table<object>('group' as never)
    await groups.putMany([{ id: 'idle', open: [], ...dueAt('idle', NOW + MINUTE) }])
    const ofGroups = async (how: object) =>
      (await run('aggregator', how)).find(({ table }) => table === 'group')
    expect(await ofGroups({})).toMatchObject({ read: 1, unfinished: 0, found: [] })
    expect(await ofGroups({ all: true, send: true })).toMatchObject({
      unfinished: 0,
      found: [{ key: 'idle' }],
    })
    expect(bodies(await aggregator.drain('seal'))).toEqual([{ group: 'idle', id: 'due-1' }])
    await groups.removeMany([{ id: 'idle' }])
  })
})

describe('an aggregate that waits for an operator', () => {
  it('is reported with the reason although the sweep checks it, and the deal tracker is asked with --send', async () => {
    const aggregates = dealer.table<object>('aggregate' as never)
    const waiting = { stage: 'offered', offeredAt: NOW - 60 * MINUTE, ...dueAt('blind', NOW + MINUTE) }
    await aggregates.putMany([
      { id: 'blind', ...waiting, waitsFor: 'the deal tracker does not answer' },
      { id: 'early', ...waiting },
    ])
    const [report] = await run('dealer', { send: true })
    expect(report!.found).toMatchObject([
      { key: 'blind', stalled: true, next: 'the deal tracker does not answer' },
    ])
    expect(bodies(await dealer.drain('track'))).toEqual([{ aggregates: ['blind'] }])
    await aggregates.removeMany([{ id: 'blind' }, { id: 'early' }])
  })
})

describe('stalled records of each service', () => {
  const cases: [string, string, object[], Record<string, unknown[]>][] = [
    [
      'storefront',
      'piece',
      [
        { stage: 'offered', history: [] },
        { stage: 'submitted', history: [] },
        { stage: 'queued', history: [] },
        { stage: 'aggregated', history: [], aggregateId: 'a' },
        { stage: 'retried', history: [] },
        { stage: 'accepted', history: [] },
        { stage: 'failed', history: [] },
      ],
      {
        submit: [{ id: '0' }],
        aggregation: [{ id: '1' }, { id: '4' }],
        poll: [{ pieces: ['2'] }],
        outcome: [{ aggregate: 'a', pieces: ['3'] }],
      },
    ],
    ['storefront', 'group', [{ stage: 'polled' }, { stage: 'idle' }], { poll: [{ group: '0' }] }],
    [
      'storefront',
      'aggregate',
      [{ stage: 'offered' }, { stage: 'accepted' }, { stage: 'failed' }],
      { outcome: [{ aggregate: '0' }] },
    ],
    ['aggregator', 'group', [{ open: [] }], { seal: [{ group: '0', id: 'due-1' }] }],
    [
      'aggregator',
      'aggregate',
      [
        { stage: 'sealed', openRanges: [0, 1] },
        { stage: 'offered', openRanges: [] },
        { stage: 'accepted', openRanges: [3] },
        { stage: 'failed', openRanges: [] },
      ],
      {
        deal: [{ aggregate: '0' }, { aggregate: '1' }],
        include: [
          { aggregate: '0', range: 0 },
          { aggregate: '0', range: 1 },
          { aggregate: '2', range: 3 },
        ],
      },
    ],
    [
      'dealer',
      'aggregate',
      [
        { stage: 'offered' },
        { stage: 'failed', openRanges: [2] },
        { stage: 'failed', openRanges: [] },
        { stage: 'accepted' },
      ],
      { track: [{ aggregates: ['0'] }], retry: [{ aggregate: '1', range: 2 }] },
    ],
    [
      'deal-tracker',
      'source',
      [
        { openRanges: [1, 2], changes: 'c', syncedAt: NOW - 60 * MINUTE },
        { openRanges: [1], changes: 'c', syncedAt: NOW - 15 * MINUTE },
        { openRanges: [], changes: 'c', syncedAt: NOW - 60 * MINUTE },
      ],
      {
        update: [
          { source: '0', changes: 'c', range: 1 },
          { source: '0', changes: 'c', range: 2 },
        ],
      },
    ],
  ]

  it.each(cases)('%s: %s', async (service, table, records, expected) => {
    const bound = { storefront, aggregator, dealer, 'deal-tracker': tracker }[service] as typeof storefront
    const name = service === 'deal-tracker' ? 'name' : 'id'
    const there = bound.table<object>(table as never)
    await there.putMany(records.map((record, n) => ({ ...record, [name]: `${n}` })))

    await run(service, { send: true })
    for (const [queue, messages] of Object.entries(expected)) {
      const sent = bodies(await bound.drain(queue as never))
      expect(sent).toHaveLength(messages.length)
      expect(sent).toEqual(expect.arrayContaining(messages))
    }
    // All have a time of their next check now, except a source: only its schedule checks it.
    const report = (await run(service)).find(report => report.table === table)
    expect(report!.found.map(({ key }) => key)).toEqual(service === 'deal-tracker' ? ['0'] : [])
  })
})
