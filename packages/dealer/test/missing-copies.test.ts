import { describe, expect, it } from 'vitest'
import { findLack } from '../src/domain/missing-copies.ts'
import type { OrderRecord, OrderStage } from '../src/domain/order.ts'

const DAY = 24 * 3_600_000
/** The aggregate was accepted at this time. */
const ACCEPTED = Date.UTC(2027, 0, 1)
const policy = { copies: 3, minLive: 2 }

const order = (copy: number, stage: OrderStage, fields: Partial<OrderRecord> = {}): OrderRecord => ({
  offer: 'offer',
  order: `0${copy}/0000`,
  id: `${copy}`,
  aggregate: 'aggregate',
  group: 'g',
  copy,
  attempt: 0,
  target: `target ${copy}`,
  provider: `f0100${copy}`,
  stage,
  createdAt: ACCEPTED - DAY,
  stageAt: ACCEPTED,
  notBefore: 0,
  ...fields,
})
const lackOf = (orders: readonly OrderRecord[], day: number, hasOtherPlace = false) =>
  findLack({ aggregate: { endedAt: ACCEPTED }, orders, policy, hasOtherPlace }, ACCEPTED + day * DAY)
/** A copy that ended so many days after the acceptance, and whose successor is stored. */
const dead = (copy: number, day: number) => [
  order(copy, 'ended', { stageAt: ACCEPTED + day * DAY }),
  order(copy, 'storing', { attempt: 1, createdAt: ACCEPTED + day * DAY }),
]

describe('the copies of an accepted aggregate', () => {
  it.each<[string, OrderRecord[], number]>([
    ['all are live', [order(0, 'live'), order(1, 'live'), order(2, 'live')], 1_000],
    ['the last one is not live yet', [order(0, 'live'), order(1, 'live'), order(2, 'storing')], 13],
    ['one beyond the least ended', [...dead(0, 50), order(1, 'live'), order(2, 'live')], 63],
    ['too few are live for a short time', [...dead(0, 50), ...dead(1, 52), order(2, 'live')], 54],
    ['the policy wants another one, which is new', [order(0, 'live'), order(1, 'live')], 90],
    [
      'a place ends, and its successor is in time',
      [
        order(0, 'live', { endsAt: ACCEPTED + 100 * DAY }),
        order(0, 'storing', { attempt: 1, createdAt: ACCEPTED + 40 * DAY }),
        order(1, 'live'),
        order(2, 'live'),
      ],
      53,
    ],
    [
      'a place ends, and its successor is live',
      [
        order(0, 'live', { endsAt: ACCEPTED + 100 * DAY }),
        order(0, 'live', { attempt: 1, endsAt: ACCEPTED + 600 * DAY }),
        order(1, 'live'),
        order(2, 'live'),
      ],
      99,
    ],
  ])('lack nothing: %s', (_, orders, day) => {
    expect(lackOf(orders, day)).toBeUndefined()
  })

  it.each<[string, OrderRecord[], number, string, number]>([
    [
      'none is live',
      [...dead(0, 50), ...dead(1, 52), ...dead(2, 51)],
      52,
      '0 of 3 copies are live, fewer than 1 since 2027-02-22',
      52,
    ],
    [
      'too few are live for 3 days',
      [...dead(0, 50), ...dead(1, 52), order(2, 'live')],
      55,
      '1 of 3 copies is live, fewer than 2 since 2027-02-22',
      55,
    ],
    [
      'one beyond the least is missing for 14 days',
      [...dead(0, 50), order(1, 'live'), order(2, 'live')],
      64,
      '2 of 3 copies are live, fewer than 3 since 2027-02-20',
      64,
    ],
    [
      'one never was live',
      [order(0, 'live'), order(1, 'live'), order(2, 'lost'), order(2, 'storing', { attempt: 1 })],
      14,
      '2 of 3 copies are live, fewer than 3 since 2027-01-01',
      14,
    ],
  ])('are too few: %s', (_, orders, day, message, at) => {
    expect(lackOf(orders, day)).toEqual({ problem: 'TooFewCopies', message, at: ACCEPTED + at * DAY })
  })

  it('count a place that no order made', () => {
    const orders = [...dead(0, 50), ...dead(1, 52), order(2, 'live')]
    expect(lackOf(orders, 60, true)).toBeUndefined()
    expect(lackOf([...dead(0, 50), ...dead(1, 52), ...dead(2, 53)], 53, true)).toBeUndefined()
  })

  it.each<[string, OrderRecord[], number, string, number]>([
    [
      'its successor is late',
      [order(0, 'storing', { attempt: 1, target: 'other', createdAt: ACCEPTED + 40 * DAY })],
      54,
      'copy 0 at target 0 ends on 2027-04-11, and its successor at other is not live',
      54,
    ],
    ['it has no successor', [], 97, 'copy 0 at target 0 ends on 2027-04-11, and it has no successor', 97],
    [
      'its successor is new, and the end is in 3 days',
      [order(0, 'storing', { attempt: 1, target: 'other', createdAt: ACCEPTED + 96 * DAY })],
      97,
      'copy 0 at target 0 ends on 2027-04-11, and its successor at other is not live',
      97,
    ],
    [
      'its successor failed',
      [order(0, 'refused', { attempt: 1, createdAt: ACCEPTED + 40 * DAY })],
      54,
      'copy 0 at target 0 ends on 2027-04-11, and it has no successor',
      54,
    ],
  ])('end without a successor that is live: %s', (_, successors, day, message, at) => {
    const orders = [
      order(0, 'live', { endsAt: ACCEPTED + 100 * DAY }),
      ...successors,
      order(1, 'live'),
      order(2, 'live'),
    ]
    expect(lackOf(orders, day)).toEqual({ problem: 'CopyEnds', message, at: ACCEPTED + at * DAY })
    expect(lackOf(orders, day - 1)).toBeUndefined()
  })
})
