import { openTables } from '@w3filecoin/aws'
import { type OrderRecord, toOpenKey } from '@w3filecoin/dealer'
import { resources } from '@w3filecoin/dealer/resources'
import { placesOf } from '@w3filecoin/local/provision'
import { dueAt, type HealthRecord, type Lane, recordId } from '@w3filecoin/runtime'
import { type Provided, somePiece, startWorld, type World } from '@w3filecoin/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Dealer, openDealer } from '../../src/ops/dealer.ts'
import { dropOffer, listOrders, retryOrders } from '../../src/ops/orders.ts'
import { listTargets, pauseTarget, resumeTarget, showFunds } from '../../src/ops/targets.ts'
import { exitCodeOf, type Outcome } from '../../src/outcome.ts'

const NOW = Date.UTC(2026, 0, 1)
const HOUR = 3_600_000

let world: World
let aws: Provided<typeof resources>
let dealer: Dealer

beforeAll(async () => {
  world = await startWorld()
  aws = await world.provide(resources)
  const sqs = process.env.AWS_ENDPOINT_URL_SQS as string
  const target = { env: {}, placesOf: async (service: string) => placesOf({ resources, service, sqs }) }
  dealer = await openDealer(target, await openTables(world.env), () => NOW)
})
afterAll(() => world?.stop())

beforeEach(async () => {
  for (const table of ['aggregate', 'order', 'target', 'whole', 'health'] as const) {
    const { hash, range } = resources.tables[table].key as { hash: string; range?: string }
    for await (const rows of aws.scan(table))
      await aws
        .table(table)
        .removeMany(rows.map(row => ({ [hash]: `${row[hash]}`, ...(range && { [range]: `${row[range]}` }) })))
  }
  for (const queue of ['order', 'report'] as const) await aws.drain(queue)
})

/** Writes an offer of an aggregate. */
const anOffer = async (name: string, { nonce = '', ...fields }: { nonce?: string; stage?: string } = {}) => {
  const aggregate = `${somePiece(name)}`
  const id = recordId(name, nonce)
  await aws.table<object>('aggregate').putMany([
    {
      v: 2,
      id,
      aggregate,
      stage: 'offered',
      offeredAt: NOW - HOUR,
      group: 'g',
      storefront: 's',
      ...fields,
    },
  ])
  return { id, aggregate }
}

/** Writes an order, whose place in the index follows from its stage. */
const anOrder = async (
  { id, aggregate }: { id: string; aggregate: string },
  { copy = 0, attempt = 0, ...fields }: Partial<OrderRecord> = {},
) => {
  const key = { offer: id, order: `0${copy}/000${attempt}` }
  const stage = fields.stage ?? 'storing'
  const lane: Lane = stage === 'live' || fields.stuck ? 'waiting' : 'own'
  const isDue = fields.stuck !== undefined || !['refused', 'lost', 'ended'].includes(stage)
  const order = {
    ...key,
    id: recordId(id, key.order),
    aggregate,
    group: 'g',
    copy,
    attempt,
    target: 'one',
    provider: 'f01001',
    stage,
    createdAt: NOW - HOUR,
    stageAt: NOW - HOUR,
    notBefore: 0,
    ...(['asked', 'storing'].includes(stage) && { inFlightAt: fields.target ?? 'one' }),
    ...(fields.stuck && { needs: 'operator', stuckAt: NOW }),
    ...(isDue && dueAt(recordId(id, key.order), NOW + HOUR, lane)),
    ...fields,
  }
  await aws.table<object>('order').putMany([order])
  return key
}

/** Writes the result of a check of a target. */
const aCheck = (name: string, fields: Partial<HealthRecord> = {}) =>
  aws.table<object>('health').putMany([
    {
      service: 'dealer',
      name: `target ${name}`,
      check: 'target',
      subject: name,
      ok: true,
      message: `${name} takes orders`,
      since: NOW - HOUR,
      checkedAt: NOW,
      ...fields,
    },
  ])

const sent = async (queue: 'order' | 'report') =>
  (await aws.drain(queue)).map(({ Body }) => JSON.parse(Body as string))
const textOf = ({ lines }: Outcome) => lines.join('\n')
// biome-ignore lint/suspicious/noExplicitAny: the result depends on the command
const resultOf = ({ result }: Outcome): any => result
const REFUSED = { stage: 'refused', reason: { name: 'TooLarge', message: 'too large' } } as const
const STUCK = 'copy 0 is not ordered: 3 orders in a row had no success'

describe('ops orders', () => {
  it('shows that no order is open', async () => {
    const all = await listOrders(dealer, { limit: 100 })
    expect(all.lines).toEqual(['No order is open.'])
    expect(all.result).toEqual({ lacking: [], orders: [], more: false })
    expect(exitCodeOf(all.error)).toBe(0)
  })

  it('shows stuck orders first and live ones last, and ends with 3 if there is a stuck one', async () => {
    const one = await anOffer('first')
    const two = await anOffer('second')
    await anOrder(one, { copy: 1, stage: 'live', place: 'sector:f01001/7' })
    await anOrder(one, { copy: 0, progress: 'the sector is sealed', deadline: NOW + HOUR })
    await anOrder(two, { attempt: 0, ...REFUSED })
    await anOrder(two, { attempt: 1, ...REFUSED, stuck: STUCK })
    const all = await listOrders(dealer, { limit: 100 })
    expect(resultOf(all).orders.map(({ stage }: OrderRecord) => stage)).toEqual([
      'refused',
      'storing',
      'live',
    ])
    const text = textOf(all)
    expect(text).toContain(`${two.aggregate}, offer ${two.id}`)
    expect(text).toMatch(
      / {2}0 +1 +one +refused +2025-12-31 23:00:00 +- +-\n {4}TooLarge: too large\n {4}STUCK: copy 0/,
    )
    expect(text).toMatch(/storing +2025-12-31 23:00:00 +2026-01-01 01:00:00 +-\n {4}the sector is sealed/)
    expect(text).toMatch(/live +2025-12-31 23:00:00 +- +sector:f01001\/7/)
    expect(all.error).toMatchObject({ code: 'NeedsOperator', message: 'One order needs an operator' })
    expect(exitCodeOf(all.error)).toBe(3)

    const stuck = await listOrders(dealer, { limit: 100, stuck: true })
    expect(resultOf(stuck).orders).toMatchObject([{ offer: two.id, attempt: 1, stuck: STUCK, stuckAt: NOW }])

    const first = await listOrders(dealer, { limit: 2 })
    expect(resultOf(first)).toMatchObject({
      more: true,
      orders: [{ stage: 'refused' }, { stage: 'storing' }],
    })
    expect(textOf(first)).toContain('There are more: pass a greater --limit than 2.')
  })

  it('shows accepted aggregates that lack copies, and the end and the state of a live copy', async () => {
    const lack = { problem: 'TooFewCopies', message: '1 of 2 copies is live', at: NOW - HOUR }
    const one = await anOffer('lacking')
    const openKey = toOpenKey({ offeredAt: lack.at, id: one.id })
    await aws
      .table<object>('aggregate')
      .putMany([{ v: 2, ...one, stage: 'accepted', offeredAt: NOW - 9 * HOUR, lack, openKey }])
    await anOffer('open')
    await anOrder(one, { stage: 'ended', reason: { name: 'CopyEnded', message: 'The place is terminated' } })
    await anOrder(one, { copy: 1, stage: 'live', endsAt: NOW + HOUR, condition: 'faulty' })
    const all = await listOrders(dealer, { limit: 100 })
    expect(resultOf(all).lacking).toEqual([{ offer: one.id, aggregate: one.aggregate, lack }])
    expect(all.lines.slice(0, 2)).toEqual([
      `${one.aggregate}, offer ${one.id}`,
      '  LACKS COPIES since 2025-12-31 23:00:00 UTC: 1 of 2 copies is live',
    ])
    expect(textOf(all)).toContain('    It ends 2026-01-01 01:00:00 UTC\n    Its provider misses proofs')
    expect(all.error).toMatchObject({ code: 'NeedsOperator', message: 'One aggregate lacks copies' })

    const some = await listOrders(dealer, { limit: 100, aggregate: one.aggregate })
    expect(textOf(some)).toMatch(/^Offer .*: accepted\n {2}LACKS COPIES since/)
    expect(textOf(some)).toContain('CopyEnded: The place is terminated')
    expect(resultOf(some).offers).toMatchObject([{ lack }])
    expect(exitCodeOf(some.error)).toBe(3)
  })

  it('shows all orders of one aggregate, of all its offers, and the state of its payload', async () => {
    const one = await anOffer('twice', { stage: 'failed' })
    const two = await anOffer('twice', { nonce: 'again' })
    await anOffer('another')
    await anOrder(one, REFUSED)
    await anOrder(two, { stage: 'planned' })
    const trouble = { message: 'the storefront answers 503', at: NOW, times: 3 }
    await aws
      .table<object>('whole')
      .putMany([{ id: one.aggregate, stage: 'filling', stageAt: NOW - HOUR, trouble, upload: 'u' }])
    const all = await listOrders(dealer, { limit: 100, aggregate: one.aggregate })
    expect(
      resultOf(all)
        .offers.map(({ offer }: { offer: string }) => offer)
        .toSorted(),
    ).toEqual([one.id, two.id].toSorted())
    expect(resultOf(all)).toMatchObject({ wholes: [{ stage: 'filling', trouble }] })
    expect(resultOf(all).orders).toHaveLength(2)
    expect(textOf(all)).toContain(
      `Offer ${one.id} of ${one.aggregate}: failed\n  Its payload is filling since 2025-12-31 23:00:00 UTC: the storefront answers 503\n`,
    )
    const second = await listOrders(dealer, { limit: 1, aggregate: two.id })
    expect(resultOf(second)).toMatchObject({
      offers: [{ offer: two.id }],
      orders: [{ stage: 'planned' }],
      more: false,
    })
    expect(resultOf(await listOrders(dealer, { limit: 1, aggregate: one.aggregate })).more).toBe(true)
  })

  it('refuses a text that is no CID and no id, and an aggregate that the dealer does not know', async () => {
    await expect(listOrders(dealer, { limit: 1, aggregate: 'x' })).rejects.toMatchObject({ code: 'Usage' })
    for (const aggregate of [`${somePiece('unknown')}`, recordId('unknown')])
      await expect(listOrders(dealer, { limit: 1, aggregate })).rejects.toMatchObject({ code: 'NotFound' })
  })
})

describe('ops order retry', () => {
  it('pardons the failures of each stuck copy, and has the dealer go on', async () => {
    const offer = await anOffer('stuck')
    const asked = { ...REFUSED, deadline: 1_000 }
    const earlier = await anOrder(offer, { attempt: 0, ...asked })
    const first = await anOrder(offer, { attempt: 1, ...asked, stuck: STUCK })
    const second = await anOrder(offer, {
      copy: 1,
      stage: 'live',
      stuck: 'copy 1 is not ordered: no target is left',
    })
    const outcome = await retryOrders(dealer, offer.aggregate)
    expect(textOf(outcome)).toContain(`Further orders are permitted: ${STUCK}`)
    expect(textOf(outcome)).toContain('No permission is missing, but the dealer tries again: copy 1')
    expect(resultOf(outcome)).toMatchObject({ permitted: [{ attempt: 1 }], others: [{ copy: 1 }] })
    const isPardoned = async (key: { offer: string; order: string }) =>
      (await dealer.stores.order.get(key))?.isPardoned
    expect([await isPardoned(earlier), await isPardoned(first), await isPardoned(second)]).toEqual([
      undefined,
      true,
      undefined,
    ])
    expect(await sent('order')).toEqual([{ v: 1, offer: offer.id }])
    // A repetition changes nothing, and sends the message again.
    const { revision } = (await dealer.stores.order.get(first))!
    expect(resultOf(await retryOrders(dealer, offer.id))).toMatchObject({ permitted: [{ attempt: 1 }] })
    expect((await dealer.stores.order.get(first))?.revision).toBe(revision)
    expect(await sent('order')).toHaveLength(1)
  })

  it('only has the dealer go on if no order is stuck', async () => {
    const offer = await anOffer('not stuck')
    await anOrder(offer)
    expect(textOf(await retryOrders(dealer, offer.id))).toMatch(
      /^No order is stuck: nothing was permitted\.\n/,
    )
    expect(await sent('order')).toEqual([{ v: 1, offer: offer.id }])
  })

  it('refuses an aggregate without orders, and a failed one', async () => {
    const { id } = await anOffer('no orders')
    await expect(retryOrders(dealer, id)).rejects.toMatchObject({ code: 'NotFound' })
    const failed = await anOffer('failed', { stage: 'failed' })
    await anOrder(failed, { ...REFUSED, stuck: STUCK })
    await expect(retryOrders(dealer, failed.id)).rejects.toMatchObject({ code: 'AlreadyFailed' })
    expect(await sent('order')).toEqual([])
  })
})

describe('ops order drop', () => {
  const reason = 'No provider takes it'

  it('reports the open offer as deal making would', async () => {
    const offer = await anOffer('dropped')
    await anOffer('dropped', { nonce: 'failed', stage: 'failed' })
    await anOrder(offer, { ...REFUSED, stuck: STUCK })
    expect(resultOf(await dropOffer(dealer, offer.aggregate, { reason }))).toMatchObject({
      offer: offer.id,
      orders: [],
    })
    expect(await sent('report')).toEqual([
      { v: 1, offer: `${offer.aggregate}/${offer.id}.json`, message: reason, invalid: [] },
    ])
  })

  it.each(['asked', 'storing', 'live'] as const)(
    'refuses while an order is %s, except with --force, and names it',
    async stage => {
      const offer = await anOffer(stage)
      await anOrder(offer, { stage })
      await anOrder(offer, { copy: 1, stage: 'planned' })
      await expect(dropOffer(dealer, offer.id, { reason })).rejects.toMatchObject({
        code: 'OrdersOpen',
        message: expect.stringMatching(new RegExp(`: copy 0 at one: ${stage}$`)),
      })
      expect(await sent('report')).toEqual([])
      const forced = await dropOffer(dealer, offer.id, { reason, force: true })
      expect(textOf(forced)).toContain(`This order is not recalled: copy 0 at one: ${stage}`)
      expect(await sent('report')).toHaveLength(1)
    },
  )

  it('refuses an aggregate that has ended, and one with several open offers', async () => {
    const accepted = await anOffer('accepted', { stage: 'accepted' })
    await expect(dropOffer(dealer, accepted.id, { reason })).rejects.toMatchObject({
      code: 'AlreadyAccepted',
    })
    const failed = await anOffer('failed before', { stage: 'failed' })
    await expect(dropOffer(dealer, failed.id, { reason })).rejects.toMatchObject({ code: 'AlreadyFailed' })
    const several = await anOffer('several')
    await anOffer('several', { nonce: 'again' })
    await expect(dropOffer(dealer, several.aggregate, { reason })).rejects.toMatchObject({
      code: 'SeveralOffers',
    })
    expect(await sent('report')).toEqual([])
    await dropOffer(dealer, several.id, { reason })
    expect(await sent('report')).toHaveLength(1)
  })
})

describe('ops target', () => {
  it('lists the targets that are checked, paused or held, and those that open orders name', async () => {
    await aCheck('checked', { ok: false, problem: 'FundsLow' })
    await aCheck('fine')
    await aws.table<object>('target').putMany([
      { name: 'held', reason: 'KeyExpired: …', until: NOW + HOUR },
      { name: 'fine', reason: 'over', until: NOW - 1 },
    ])
    const offer = await anOffer('of two targets')
    await anOrder(offer, { target: 'removed' })
    await anOrder(offer, { copy: 1, stage: 'live', target: 'fine' })
    await pauseTarget(dealer, 'checked', { reason: 'It moves' })
    const outcome = await listTargets(dealer, { limit: 100 })
    expect(resultOf(outcome)).toEqual({
      targets: [
        {
          name: 'checked',
          state: 'paused',
          reason: 'It moves',
          check: 'FundsLow',
          inFlight: 0,
          moreInFlight: false,
        },
        { name: 'fine', state: 'open', check: 'ok', inFlight: 0, moreInFlight: false },
        {
          name: 'held',
          state: 'held',
          reason: 'KeyExpired: …',
          until: NOW + HOUR,
          inFlight: 0,
          moreInFlight: false,
        },
        { name: 'removed', state: 'open', inFlight: 1, moreInFlight: false },
      ],
      ordersRead: 2,
      more: false,
    })
    expect(textOf(outcome)).toMatch(/held +held until 2026-01-01 01:00:00 UTC +- +0 +KeyExpired/)
    expect(textOf(outcome)).toContain('The configuration of the dealer cannot be read from outside.')
  })

  it('pauses a target without an end, also one that is held, and resumes it', async () => {
    const row = () => dealer.stores.target.get({ name: 'one' })
    await aws.table<object>('target').putMany([{ name: 'one', reason: 'held', until: NOW + HOUR }])
    await pauseTarget(dealer, 'one', { reason: 'It moves' })
    expect(await row()).toMatchObject({ reason: 'It moves' })
    expect(await row()).not.toHaveProperty('until')
    await pauseTarget(dealer, 'one', { reason: 'It still moves' })
    expect(await row()).toMatchObject({ reason: 'It still moves' })
    await resumeTarget(dealer, 'one')
    expect(await row()).toBeUndefined()
    await expect(resumeTarget(dealer, 'one')).rejects.toMatchObject({ code: 'NotFound' })
  })

  it('refuses to pause a target that the dealer does not check', async () => {
    await aCheck('one')
    await expect(pauseTarget(dealer, 'none', { reason: 'x' })).rejects.toMatchObject({
      code: 'NotFound',
      hint: expect.stringContaining('It checks one.'),
    })
    expect(await dealer.stores.target.get({ name: 'none' })).toBeUndefined()
  })
})

describe('ops funds', () => {
  it('shows the last check of each target, and ends with 3 if one fails or is old', async () => {
    expect(textOf(await showFunds(dealer))).toMatch(/^The dealer has checked no target/)
    await aCheck('one')
    const fine = await showFunds(dealer)
    expect(fine.lines).toEqual([
      'one: ok since 2025-12-31 23:00:00 UTC, checked 2026-01-01 00:00:00 UTC',
      '  one takes orders',
    ])
    expect(exitCodeOf(fine.error)).toBe(0)

    await aCheck('two', { ok: false, problem: 'FundsLow', message: 'The funds last for 3 days' })
    await aCheck('three', { checkedAt: NOW - HOUR })
    const bad = await showFunds(dealer)
    expect(textOf(bad)).toContain('two: FundsLow since 2025-12-31 23:00:00 UTC')
    expect(textOf(bad)).toContain('This check is old')
    expect(bad.error?.message).toBe('2 of 3 targets need an operator: three, two')
    expect(exitCodeOf(bad.error)).toBe(3)
  })
})
