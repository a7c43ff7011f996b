import { queueFunction } from '@w3filecoin/aws'
import { dueAt, type Stored } from '@w3filecoin/runtime'
import { linkOf } from '@w3filecoin/testing'
import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  ensurePolled,
  type GroupRecord,
  hasNews,
  isWalkDue,
  markAsked,
  markIdle,
  mayBeIdle,
  newGroup,
  nextPollMs,
  recordNews,
} from '../src/domain/group.ts'
import { MEMBER_SHARDS, queuedShard, shardOf } from '../src/domain/member-shards.ts'
import { createStorefront } from '../src/index.ts'
import {
  aggregateOf,
  aws,
  clock,
  conclude,
  dependencies,
  GROUP,
  queuePieces,
  recordOf,
  service,
  settle,
  sweepAfter,
  theAggregator,
  timing,
} from './setup.ts'
import { insertPiece, startStorefront } from './simulated.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

describe('a group', () => {
  const stored = (more: Partial<GroupRecord> = {}): Stored<GroupRecord> => ({
    ...newGroup('g', 0, timing),
    ...more,
    revision: 1,
  })

  it.each([
    [0, 15 * MINUTE],
    [2 * HOUR, 2 * HOUR],
    [9 * DAY, 6 * HOUR],
    [-DAY, 15 * MINUTE],
  ])('without news for %i ms is asked about again after %i ms', (age, interval) => {
    expect(nextPollMs({ newsAt: 0 }, age, timing)).toBe(interval)
  })

  it('is asked about soon after news, and news is recorded once until then', () => {
    const news = recordNews(stored({ checkAt: DAY }), 2 * HOUR, timing)!
    expect(news).toMatchObject({ newsAt: 2 * HOUR, checkAt: 2 * HOUR + timing.retryMs })
    expect(hasNews(news)).toBe(true)
    expect(recordNews(news, 2 * HOUR + 1, timing)).toBeUndefined()
    const asked = markAsked(news, { isWalk: false, startedAt: 3 * HOUR }, 3 * HOUR, timing)
    expect(hasNews(asked)).toBe(false)
    expect(asked.checkAt).toBe(4 * HOUR)
    expect(recordNews(asked, 3 * HOUR + 1, timing), 'before the next question').toBeDefined()
  })

  it('is asked about as a whole once a day, also after a clock that was ahead', () => {
    expect(isWalkDue(stored(), DAY - 1)).toBe(false)
    expect(isWalkDue(stored(), DAY)).toBe(true)
    expect(isWalkDue(stored({ walkedAt: 10 * DAY }), 0)).toBe(true)
    expect(markAsked(stored(), { isWalk: true, startedAt: DAY }, DAY, timing).walkedAt).toBe(DAY)
    const ask = (record: Stored<GroupRecord>, problem?: string) =>
      markAsked(record, { isWalk: false, startedAt: DAY, problem }, DAY, timing)
    const twice = ask(ask(stored(), 'away'), 'still away')
    expect(twice.trouble).toEqual({ message: 'still away', at: DAY, times: 2 })
    expect(ask(twice).trouble).toBeUndefined()
  })

  it('rests when no piece was queued for a day, and is polled again when one is', () => {
    expect(mayBeIdle(stored(), DAY - 1)).toBe(false)
    expect(mayBeIdle(stored(), DAY)).toBe(true)
    const idle = markIdle(stored())
    expect(idle).toMatchObject({ stage: 'idle', checkAt: undefined, due: undefined })
    expect(ensurePolled(idle, DAY, timing)).toMatchObject({ stage: 'polled', checkAt: DAY + timing.pollMs })
    expect(ensurePolled(stored(), HOUR - 1, timing), 'many pieces cause few writes').toBeUndefined()
    expect(ensurePolled(stored(), HOUR, timing)).toMatchObject({ queuedAt: HOUR })
  })
})

describe('the receipt of a queued piece', () => {
  afterEach(() => void vi.restoreAllMocks())

  it('C: is asked for rarely, however long many pieces of a group wait', async () => {
    const asked = new Set<string>()
    let requests = 0
    const { world, seed, queues, service } = startStorefront(undefined, {
      aggregator: Object.create(dependencies.aggregator, {
        receipts: {
          value: async (tasks: string[]) => {
            requests += 1
            for (const task of tasks) asked.add(task)
            return new Map()
          },
        },
      }),
    })
    const storefront = { world, seed } as Parameters<typeof insertPiece>[0]
    const pieces = 300
    for (let n = 0; n < pieces; n++) await insertPiece(storefront, `waits ${n}`, 'queued')
    seed('group', { ...newGroup('g', world.now(), timing) })
    for (const name of ['poll', 'aggregation'] as const)
      queues[name]!.consume(queueFunction(service.consumers[name] as never, () => {}))
    let isOver = false
    for (let at = 5 * MINUTE; at < 3 * DAY; at += 5 * MINUTE)
      world.timeline.after(at, () => void service.schedules.sweep!())
    world.timeline.after(3 * DAY, () => {
      isOver = true
    })
    await world.timeline.run(() => isOver)
    // 17 questions about up to 48 pieces, and two or three about all of each shard. Every 15 minutes each would be 86,400.
    expect(requests).toBeLessThan(17 + 3 * MEMBER_SHARDS)
    expect(asked.size, 'each piece was asked about').toBe(pieces)
  })

  it('C: is fetched within minutes if its delivery is lost, and that of another piece is not', async () => {
    const [told, untold] = await queuePieces('delivered', 'not delivered')
    // The group has waited for long, so the next question would come hours later.
    const group = (await dependencies.stores.group.get({ id: GROUP }))!
    await dependencies.stores.group.replace({
      ...group,
      newsAt: clock.now - DAY,
      checkAt: clock.now + 6 * HOUR,
    })
    const { acceptPiece } = await aggregateOf([told.piece, untold.piece])
    await theAggregator.receipts.put(await acceptPiece(untold.piece))
    await conclude(await acceptPiece(told.piece))
    expect(await recordOf(untold)).toMatchObject({ stage: 'queued' })
    await sweepAfter(timing.retryMs)
    expect(await recordOf(untold)).toMatchObject({ stage: 'aggregated' })
  })

  it('C: is fetched within a day if older pieces are passed over', async () => {
    const [only] = await queuePieces('behind older ones')
    const record = (await recordOf(only))!
    const shard = queuedShard(GROUP, shardOf(record.piece))
    const older = Array.from({ length: 4 }, (_, n) => ({
      ...record,
      id: `older ${n}`,
      queuedIn: shard,
      queuedAt: n,
      waitsFor: `${linkOf(Buffer.from(`older ${n}`))}`,
      checkAt: clock.now + 9 * DAY,
    }))
    for (const { revision: _, ...piece } of older) await dependencies.stores.piece.insert(piece)
    const { acceptPiece } = await aggregateOf([only.piece])
    await theAggregator.receipts.put(await acceptPiece(only.piece))
    const small = createStorefront({ ...dependencies, batching: { pageRecords: 1 } })
    await sweepAfter(timing.pollMs)
    expect(await recordOf(only), 'only the oldest pieces are asked about').toMatchObject({ stage: 'queued' })
    clock.now += DAY
    await small.schedules.sweep!()
    await aws.settle(small.consumers)
    expect(await recordOf(only)).toMatchObject({ stage: 'aggregated' })
    await dependencies.stores.piece.removeMany(older.map(({ id }) => ({ id })))
  })

  it('is fetched for a piece that earlier code queued, whose group is polled from then on', async () => {
    const [early] = await queuePieces('of earlier code')
    const { queuedIn: _, queuedAt: __, ...record } = (await recordOf(early))!
    await dependencies.stores.piece.replace({
      ...record,
      ...dueAt(record.id, clock.now + timing.pollMs, 'waiting'),
    })
    await dependencies.stores.group.removeMany([{ id: GROUP }])
    await sweepAfter(timing.pollMs)
    expect(await recordOf(early)).toMatchObject({
      stage: 'queued',
      queuedIn: queuedShard(GROUP, shardOf(record.piece)),
    })
    expect((await recordOf(early))?.checkAt, 'its group covers it').toBeUndefined()
    const { acceptPiece } = await aggregateOf([early.piece])
    await theAggregator.receipts.put(await acceptPiece(early.piece))
    await sweepAfter(timing.pollMs)
    expect(await recordOf(early)).toMatchObject({ stage: 'aggregated' })
    expect((await recordOf(early))?.queuedIn).toBeUndefined()
  })

  it('is fetched for a piece that is named, and its group is polled again, if a restored table of groups lacks it', async () => {
    const [only] = await queuePieces('of a lost group')
    await dependencies.stores.group.removeMany([{ id: GROUP }])
    await dependencies.queues.poll.send([{ pieces: [(await recordOf(only))!.id] }])
    await settle()
    expect(await dependencies.stores.group.get({ id: GROUP })).toMatchObject({ stage: 'polled' })
    const { acceptPiece } = await aggregateOf([only.piece])
    await theAggregator.receipts.put(await acceptPiece(only.piece))
    await sweepAfter(timing.pollMs)
    expect(await recordOf(only)).toMatchObject({ stage: 'aggregated' })
  })

  it('is fetched at once where earlier code scheduled a check, which then ends', async () => {
    const [early] = await queuePieces('with a check of its own')
    const record = (await recordOf(early))!
    const due = dueAt(record.id, clock.now + timing.pollMs, 'waiting')
    await dependencies.stores.piece.replace({ ...record, ...due })
    const { acceptPiece } = await aggregateOf([early.piece])
    await theAggregator.receipts.put(await acceptPiece(early.piece))
    await dependencies.stores.group.removeMany([{ id: GROUP }])
    await sweepAfter(timing.pollMs)
    expect(await recordOf(early)).toMatchObject({ stage: 'aggregated' })
    expect((await recordOf(early))?.due).toBeUndefined()
    await service.schedules.sweep!()
  })

  it('is not asked for when no piece waits: the group rests after a day', async () => {
    for (let day = 0; day < 3; day++) await sweepAfter(DAY)
    expect(await dependencies.stores.group.get({ id: GROUP })).toMatchObject({ stage: 'idle' })
    const [next] = await queuePieces('after a rest')
    expect(await dependencies.stores.group.get({ id: GROUP })).toMatchObject({ stage: 'polled' })
    expect(await recordOf(next)).toMatchObject({ stage: 'queued' })
    await service.schedules.sweep!()
    await settle()
  })
})
