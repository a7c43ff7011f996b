import { failure } from '@w3filecoin/capabilities'
import { listAll } from '@w3filecoin/runtime'
import { beforeEach, describe, expect, it } from 'vitest'
import { dealerChecks } from '../src/checks.ts'
import type { OpenTarget } from '../src/dependencies.ts'
import { type AggregateRecord, type Lack, setLack } from '../src/domain/aggregate.ts'
import { type OrderRecord, setStuck } from '../src/domain/order.ts'
import { createDealer } from '../src/index.ts'
import type { Maker } from '../src/makers/maker.ts'
import { aws, clock, dependencies, timing, tracker } from './setup.ts'

const target = (name: string, check: Maker['check']): Pick<OpenTarget, 'name' | 'maker'> => ({
  name,
  maker: {
    advance: () => {
      throw new Error('A check makes no order')
    },
    check,
  },
})

/** Runs the checks of a dealer with these targets. Returns the rows, and the numbers of failed checks by kind. */
const runChecks = async (
  targets: readonly Pick<OpenTarget, 'name' | 'maker'>[] = [],
  { door }: { door?: string } = { door: 'https://dealer.test' },
) => {
  const failed: Record<string, number> = {}
  const checks = dealerChecks({
    config: {
      aggregators: [],
      storefronts: [],
      pieceSources: [],
      dealTracker: { did: tracker.did() } as never,
    },
    targets,
    door,
    stores: dependencies.stores,
    id: dependencies.id,
    peer: () => dependencies.dealTracker,
    fetch,
    now: dependencies.now,
    random: dependencies.random,
    didWeb: { fetch, allowPrivate: true },
  })
  const metrics: typeof dependencies.metrics = ({ FailedChecks }, { check } = {}) => {
    failed[`${check}`] = FailedChecks as number
  }
  await aws.host(createDealer({ ...dependencies, checks, metrics })).schedules.check?.()
  const rows = await listAll(dependencies.stores.health, 'dealer')
  return { failed, row: (name: string) => rows.find(row => row.name === name) }
}

const anOrder = async (offer: string): Promise<OrderRecord> => {
  const order: OrderRecord = {
    offer,
    order: '00/0000',
    id: `order of ${offer}`,
    aggregate: `aggregate of ${offer}`,
    group: 'g',
    copy: 0,
    attempt: 0,
    target: 'one',
    provider: 'f01001',
    stage: 'refused',
    createdAt: clock.now,
    stageAt: clock.now,
    notBefore: 0,
  }
  return (await dependencies.stores.order.insert(order)).ok as OrderRecord
}

beforeEach(() => {
  clock.now += 300_000
})

describe('the checks of targets', () => {
  it('have a row for each target, with the address to log in, and fail with the advice of its maker', async () => {
    const advice = 'Have the payer log 0x22 in'
    const { row, failed } = await runChecks([
      target('one', async () => ({ ok: { message: 'The wallet 0x11 may sign' } })),
      target('two', async () => ({ error: failure('SessionKeyExpires', advice) })),
    ])
    expect(row('target one')).toMatchObject({
      check: 'target',
      subject: 'one',
      setting: 'targets',
      ok: true,
      message: 'The wallet 0x11 may sign',
    })
    expect(row('target two')).toMatchObject({
      ok: false,
      problem: 'SessionKeyExpires',
      message: `The target two in the settings of the dealer gets no copies, or soon gets none: ${advice}`,
    })
    expect(failed).toMatchObject({ target: 1, order: 0 })
  })

  it('do not stop one another', async () => {
    const { row } = await runChecks([
      target('one', () => Promise.reject(new Error('a bug'))),
      target('two', async () => ({ ok: { message: 'fine' } })),
    ])
    expect(row('target one')).toMatchObject({ ok: false, problem: 'CheckNotRun' })
    expect(row('target two')).toMatchObject({ ok: true })
  })
})

describe('the check of orders', () => {
  it('fails while an order is stuck, since when and why, and passes after a successor', async () => {
    const { stores } = dependencies
    expect((await runChecks()).row('orders')).toMatchObject({
      ok: true,
      message: 'No order needs an operator',
    })
    const first = await anOrder('first')
    const second = await anOrder('second')
    const change = async ({ offer, order }: OrderRecord, stuck: string | undefined) => {
      const record = (await stores.order.get({ offer, order }))!
      await stores.order.replace(setStuck(record, stuck, clock.now, timing)!)
    }
    await change(first, 'no target is left')
    const since = new Date(clock.now).toISOString()
    clock.now += 60_000
    await change(second, '3 orders in a row had no success')
    // Another reason is the same problem.
    await change(first, 'another reason')
    clock.now += 300_000
    const stuck = await runChecks()
    expect(stuck.row('orders')).toMatchObject({
      check: 'order',
      ok: false,
      problem: 'OrdersStuck',
      message: `2 orders of the dealer need an operator, since ${since}. The first one is of aggregate of first: another reason. See w3fil ops orders --stuck`,
    })
    expect(stuck.failed).toMatchObject({ order: 1 })
    await change(first, undefined)
    await change(second, undefined)
    clock.now += 300_000
    expect(await runChecks()).toMatchObject({ failed: { order: 0 } })
  })

  it('fails while targets cannot fetch aggregates', async () => {
    const check = () => runChecks([target('one', async () => ({ ok: { message: 'fine' } }))], {})
    expect((await check()).row('orders')).toMatchObject({
      ok: false,
      problem: 'NoDoor',
      message: expect.stringContaining('set `door` in its settings'),
    })
    clock.now += 300_000
    expect((await runChecks([], {})).row('orders')).toMatchObject({ ok: true })
  })
})

describe('the check of copies', () => {
  it('fails while an accepted aggregate lacks copies, and names one with too few before one that ends', async () => {
    const { stores } = dependencies
    const anAccepted = async (id: string, lack: Lack) => {
      const aggregate = `aggregate of ${id}`
      const record = { id, aggregate, stage: 'accepted', offeredAt: 0, group: 'g' } as AggregateRecord
      await stores.aggregate.insert(record)
      const change = async (lack: Lack | undefined) =>
        stores.aggregate.replace(setLack((await stores.aggregate.get({ id }))!, lack)!)
      await change(lack)
      return () => change(undefined)
    }
    expect((await runChecks()).row('copies')).toMatchObject({
      ok: true,
      message: 'No accepted aggregate lacks copies',
    })
    const at = clock.now
    const ends = { problem: 'CopyEnds', message: 'copy 0 at one ends on 2026-01-01', at: at - 1 } as const
    const few = { problem: 'TooFewCopies', message: '0 of 2 copies are live', at } as const
    const renew = await anAccepted('ending', ends)
    const restore = await anAccepted('few', few)
    clock.now += 300_000
    const { row, failed } = await runChecks()
    expect(row('copies')).toMatchObject({
      check: 'order',
      ok: false,
      problem: 'TooFewCopies',
      message: `2 accepted aggregates of the dealer lack copies. aggregate of few, since ${new Date(at).toISOString()}: ${few.message}. See w3fil ops orders --aggregate aggregate of few`,
    })
    expect(failed).toMatchObject({ order: 1 })
    await restore()
    clock.now += 300_000
    expect((await runChecks()).row('copies')).toMatchObject({ problem: 'CopyEnds' })
    await renew()
    clock.now += 300_000
    expect((await runChecks()).row('copies')).toMatchObject({ ok: true })
  })
})
