import type { Invocation, Receipt } from '@ucanto/interface'
import {
  failure,
  type PieceLink,
  type PlaceStatus,
  type SourceState,
  Tasks,
  toMetadata,
  toPlaceKey,
} from '@w3filecoin/capabilities'
import type { Row } from '@w3filecoin/runtime'
import { ask, cut, effectsOf, served, somePiece } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { policiesOf } from '../src/config.ts'
import type { AggregateRecord, Owner } from '../src/domain/aggregate.ts'
import { toCreditKey } from '../src/domain/credit.ts'
import { documentName } from '../src/domain/offer-document.ts'
import { createDealer, type Dependencies } from '../src/index.ts'
import { tables } from '../src/stores.ts'
import { unfinished } from '../src/unfinished.ts'
import {
  aggregator,
  anAggregate,
  aws,
  clock,
  dealer,
  dependencies,
  documentOf,
  errorOf,
  later,
  type Offered,
  offer as offerNow,
  publish,
  recordOf,
  retried,
  rival,
  service,
  sourceAt,
  state,
  TENANT,
  timing,
} from './setup.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

const DEALS_ONLY = policiesOf({ policies: [] }).map(policy => ({ ...policy, places: ['market' as const] }))
const OTHER_STOREFRONT = { ...TENANT, storefront: 'did:web:other.example' } as const
const OTHER_GROUP = { ...TENANT, group: 'did:web:paid.example' } as const
const ownerOf = (tenant = TENANT, by = aggregator): Owner => ({ ...tenant, aggregator: by.did() })

/** Makes an offer after all earlier ones. */
const offer: typeof offerNow = (...options) => {
  clock.now += 1
  return offerNow(...options)
}
const settle = () => aws.settle(service.consumers)
/** Has the dealer ask the tracker about these offers now. */
const track = async (records: readonly AggregateRecord[], { consumers } = service) => {
  await dependencies.queues.track.send([{ aggregates: records.map(({ id }) => id) }])
  return aws.deliver('track', consumers.track as never)
}
const current = async ({ id }: AggregateRecord) => {
  const record = await dependencies.stores.aggregate.get({ id })
  if (!record) throw new Error(`There is no record ${id}`)
  return record
}
const report = async (record: AggregateRecord) => {
  const message = { offer: documentName(record), message: 'No provider accepted it', invalid: [] }
  await dependencies.queues.report.send([message])
  await aws.deliver('report', service.consumers.report as never)
}
const receiptOf = ({ fx }: Receipt) => served(service.api, fx.join!.link())
const dealOf = async (promise: Receipt): Promise<number | undefined> =>
  ((await receiptOf(promise))?.out.ok as { dataSource: { dealID: number } } | undefined)?.dataSource.dealID
const creditOf = (deal: number) => dependencies.stores.credit.get({ deal: `${deal}` })
const factsOf = ({ fx }: Receipt) => (fx.join as Invocation).facts
const retriesTo = (offered: Offered, audience: string) =>
  retried.filter(
    retry =>
      retry.audience.did() === audience &&
      Tasks.parseRetryNonce(retry.nonce ?? '').aggregate === `${offered.aggregate}`,
  )

let lastDeal = 5_000
const nextDeal = () => {
  lastDeal += 1
  return lastDeal
}

describe('A1: an aggregate whose deal is not known to the tracker', () => {
  const blind: [string, (deadline: number) => SourceState[], string][] = [
    ['has no source', () => [], 'does not say how recent its knowledge is'],
    ['never read its source', () => [{ source: 'chain' }], 'of chain (last: never)'],
    ['had no good run after the deadline', time => [sourceAt(time - HOUR)], 'of chain (last: 20'],
    ['read its source with a wrong clock', time => [sourceAt(time + 90 * DAY)], 'of chain (last: 20'],
    ['read one of two sources', time => [sourceAt(time + DAY), sourceAt(time - DAY, 'b')], 'of b (last: 20'],
  ]
  it.each(blind)('does not fail while the tracker %s; its record says why', async (how, asOf, reason) => {
    const offered = anAggregate(how)
    const promise = await offer(offered)
    const { offeredAt } = await recordOf(offered)
    state.asOf = asOf(offeredAt + timing.dealWaitMs)
    await later(timing.dealWaitMs - 1)
    expect((await recordOf(offered)).waitsFor).toBeUndefined()
    for (let weeks = 0; weeks < 3; weeks++) await later(7 * DAY)
    const record = await recordOf(offered)
    expect(record).toMatchObject({ stage: 'offered', waitsFor: expect.stringContaining(reason) })
    expect([await receiptOf(promise), retriesTo(offered, aggregator.did())]).toEqual([undefined, []])
    // The operator sees it.
    expect(unfinished.aggregate.needsOperator?.(record)).toBe(true)
    expect(unfinished.aggregate.describeNext(record)).toBe(record.waitsFor)

    // The tracker sees the chain again: no deal.
    state.asOf = [sourceAt(offeredAt + timing.dealWaitMs)]
    await later(7 * DAY)
    expect(errorOf((await receiptOf(promise))!)).toMatchObject({ name: 'DealNotFound' })
    expect(await recordOf(offered)).toMatchObject({ stage: 'failed', rangesToRetry: [] })
    expect(await recordOf(offered)).not.toHaveProperty('waitsFor')
  })

  it('is accepted when the tracker sees the deal again', async () => {
    const offered = anAggregate('seen again')
    const promise = await offer(offered)
    state.asOf = [sourceAt(clock.now)]
    await later(timing.dealWaitMs + DAY)
    expect((await recordOf(offered)).waitsFor).toBeDefined()
    const deal = nextDeal()
    publish(offered, { [deal]: {} })
    await later(DAY)
    expect(await dealOf(promise)).toBe(deal)
    expect(await recordOf(offered)).not.toHaveProperty('waitsFor')
  })

  it('fails when an operator reports it', async () => {
    const offered = anAggregate('reported by an operator')
    const promise = await offer(offered)
    state.asOf = []
    await later(timing.dealWaitMs)
    await report(await recordOf(offered))
    await settle()
    expect(errorOf((await receiptOf(promise))!)).toMatchObject({ name: 'DealNotFound' })
    expect(retriesTo(offered, aggregator.did())).toHaveLength(offered.pieces.length)
  })

  it('does not fail on an answer of an earlier version, which does not say how recent it is', async () => {
    const offered = anAggregate('answer of yesterday')
    await offer(offered)
    state.trackerRefusal = failure('DealNotFound', 'No deal is known', { piece: offered.aggregate })
    await later(timing.dealWaitMs)
    expect(await recordOf(offered)).toMatchObject({ stage: 'offered', waitsFor: expect.any(String) })
  })

  it('neither fails nor is retried while it is on chain without a deal of the market', async () => {
    const offered = anAggregate('on chain')
    const promise = await offer(offered)
    const place = { type: 'provider' as const, key: 'f01001', provider: 'f01001', pieceCid: 'baga…' }
    state.places.set(`${offered.aggregate}`, [{ ...place, status: 'Active' }])
    await later(timing.dealWaitMs)
    expect(await recordOf(offered)).toMatchObject({
      stage: 'offered',
      waitsFor: 'it is on chain at f01001, without a deal of the built-in market',
    })
    publish(offered, { 0: {} })
    await later(7 * DAY)
    expect([await receiptOf(promise), retriesTo(offered, aggregator.did())]).toEqual([undefined, []])
    state.places.set(`${offered.aggregate}`, [{ ...place, status: 'Expired' }])
    await later(7 * DAY)
    expect(errorOf((await receiptOf(promise))!)).toMatchObject({ name: 'DealNotFound' })
  })
})

describe('D2: an offer of the same aggregate, pieces and nonce', () => {
  const others: [string, Parameters<typeof offer>[1], object][] = [
    ['by another aggregator', { issuer: rival }, { aggregator: rival.did() }],
    ['for another storefront', { tenant: OTHER_STOREFRONT }, {}],
    ['for another group', { tenant: OTHER_GROUP }, {}],
    [
      'by another aggregator for another tenant',
      { issuer: rival, tenant: OTHER_GROUP },
      { aggregator: rival.did() },
    ],
  ]
  it.each(others)('%s has its own promise, document and deal', async (how, options, facts) => {
    const offered = anAggregate(how)
    const first = await offer(offered)
    const second = await offer(offered, options)
    expect(second.out).toEqual({ ok: { aggregate: offered.aggregate } })
    const { issuer = aggregator, tenant = TENANT } = options!
    const { storefront, group } = tenant
    expect([factsOf(first), factsOf(second)]).toEqual([[], [{ storefront, group, ...facts }]])
    const record = await recordOf(offered, undefined, ownerOf(tenant, issuer))
    expect(record).toMatchObject({ aggregator: issuer.did(), storefront, group })
    expect(await documentOf(documentName(record))).toMatchObject({ tenant: storefront, group })

    // Repeated, each offer has the same promise.
    expect(effectsOf(await offer(offered, options))).toEqual(effectsOf(second))
    expect(effectsOf(await offer(offered, { attach: false }))).toEqual(effectsOf(first))

    const deals = [nextDeal(), nextDeal()] as const
    // The label of the lower one names the second offer.
    publish(offered, { [deals[0]]: { label: documentName(record) }, [deals[1]]: {} })
    await later()
    expect([await dealOf(second), await dealOf(first)]).toEqual(deals)
    // The dealer may invoke the task itself, and gets the served receipt.
    const own = await ask(service.api, second.fx.join as Invocation)
    expect(`${own.root.cid}`).toBe(`${(await receiptOf(second))!.root.cid}`)
  })

  it('by another owner at the same time has its own promise', async () => {
    const offered = anAggregate('at the same time')
    const options = [{}, { issuer: rival }, { tenant: OTHER_STOREFRONT }, { tenant: OTHER_GROUP }]
    const promises = await Promise.all(options.map(option => offer(offered, option)))
    expect(new Set(promises.map(({ fx }) => `${fx.join!.link()}`)).size).toBe(4)
    expect(promises.filter(promise => factsOf(promise).length === 0)).toHaveLength(1)
  })

  it('promises no task that names the owner of the first offer', async () => {
    const offered = anAggregate('facts of the first')
    const { fx } = await offer(offered)
    const [capability] = (fx.join as Invocation).capabilities
    const nb = capability!.nb as { aggregate: PieceLink; pieces: never }
    const { storefront, group } = TENANT
    const named = await Tasks.aggregateAccept(dealer, { ...nb, laterOffer: { storefront, group } })
    expect(errorOf(await ask(service.api, named))).toMatchObject({
      name: 'OutcomePending',
      message: 'No offer promised this aggregate/accept',
    })
  })

  it('by another aggregator is retried at that aggregator', async () => {
    const offered = anAggregate('retried at the rival')
    const first = await offer(offered)
    const second = await offer(offered, { issuer: rival })
    await report(await recordOf(offered, undefined, ownerOf(TENANT, rival)))
    await settle()
    expect(errorOf((await receiptOf(second))!)).toMatchObject({ name: 'DealNotFound' })
    expect(await receiptOf(first)).toBeUndefined()
    expect(retriesTo(offered, rival.did())).toHaveLength(offered.pieces.length)
    expect(retriesTo(offered, aggregator.did())).toEqual([])
  })

  it('with invalid pieces is refused for each aggregator, and retried at each', async () => {
    const { aggregate, pieces } = anAggregate('refused for each')
    const offered = { aggregate, pieces: [...pieces, somePiece('too large for each', 11)] }
    for (const issuer of [aggregator, rival])
      for (const _ of ['first', 'repeated'])
        expect(errorOf(await offer(offered, { issuer }))).toMatchObject({ name: 'InvalidPiece' })
    await settle()
    const owners = [undefined, ownerOf(TENANT, rival)]
    for (const owner of owners)
      expect(await recordOf(offered, undefined, owner)).toMatchObject({ stage: 'failed', rangesToRetry: [] })
    for (const issuer of [aggregator, rival])
      expect(retriesTo(offered, issuer.did())).toHaveLength(pieces.length)
  })
})

describe('a place other than a deal', () => {
  const verifier = `0x${'ab'.repeat(20)}`
  /** A place as the tracker reports it, which saw it after the offers that exist now. */
  const reported = (key: string, more: Partial<PlaceStatus> = {}): PlaceStatus => {
    const epoch = sourceAt(clock.now).epoch!
    const type = key.startsWith('pdp') ? 'pdp' : 'sector'
    const seen = { at: new Date(clock.now).toISOString(), epoch: epoch - 1 }
    return { type, key, provider: 'f01001', status: 'Active', pieceCid: 'baga…', epoch, seen, ...more }
  }
  const sector = { type: 'sector', miner: 'f01001', sector: 77 } as const
  const pdp = { type: 'pdp', chain: 314, verifier, dataSet: 12, piece: 0 } as const

  it.each([sector, pdp])('of type $type ends an offer, and its receipt names it', async place => {
    const offered = anAggregate(`at a ${place.type}`)
    const promise = await offer(offered)
    const status = reported(toPlaceKey(place))
    state.places.set(`${offered.aggregate}`, [{ ...status, status: 'Pending' }])
    await later(HOUR)
    expect(await recordOf(offered)).toMatchObject({ stage: 'offered' })
    state.places.set(`${offered.aggregate}`, [status])
    await later(HOUR)
    expect(await recordOf(offered)).toMatchObject({ stage: 'accepted', place: toPlaceKey(place) })
    expect((await receiptOf(promise))?.out.ok).toEqual({
      aggregate: offered.aggregate,
      ...toMetadata(place, status.epoch!),
    })
    const credit = await dependencies.stores.credit.get({
      deal: toCreditKey(toPlaceKey(place), `${offered.aggregate}`),
    })
    expect(credit).toMatchObject({ aggregateId: (await recordOf(offered)).id })
  })

  it('is credited to one of two offers of the aggregate', async () => {
    const offered = anAggregate('one sector for two offers')
    const promises = [await offer(offered), await offer(offered, { nonce: 'again' })]
    state.places.set(`${offered.aggregate}`, [reported('sector:f01001/78')])
    const records = [await recordOf(offered), await recordOf(offered, 'again')]
    await Promise.all(records.map(record => track([record])))
    for (const record of records) await track([record])
    await settle()
    const ends = await Promise.all(promises.map(receiptOf))
    expect(ends.filter(receipt => receipt !== undefined)).toHaveLength(1)
    // The next place is for the other one.
    state.places.get(`${offered.aggregate}`)!.push(reported('sector:f01002/1'))
    await later(HOUR)
    const places = [(await recordOf(offered)).place, (await recordOf(offered, 'again')).place]
    expect(places.toSorted()).toEqual(['sector:f01001/78', 'sector:f01002/1'])
  })

  it('does not end an offer if the settings allow deals only, and does not let it fail either', async () => {
    const strict = aws.host(createDealer({ ...dependencies, policies: DEALS_ONLY }))
    const offered = anAggregate('deals only')
    const promise = await offer(offered)
    state.places.set(`${offered.aggregate}`, [reported('sector:f01001/79')])
    clock.now += timing.dealWaitMs
    await track([await recordOf(offered)], strict)
    const waitsFor = 'it is on chain as sector 79 of f01001, which its policy does not accept'
    expect(await recordOf(offered)).toMatchObject({ stage: 'offered', waitsFor })
    publish(offered, { [nextDeal()]: {} })
    await track([await recordOf(offered)], strict)
    await settle()
    expect((await receiptOf(promise))?.out.ok).toMatchObject({ dataType: 0 })
  })

  it('is not waited for by sources that cannot see the accepted kinds', async () => {
    const strict = aws.host(createDealer({ ...dependencies, policies: DEALS_ONLY }))
    const offered = anAggregate('two sources')
    await offer(offered)
    const { offeredAt } = await recordOf(offered)
    const after = sourceAt(offeredAt + timing.dealWaitMs + DAY)
    clock.now += timing.dealWaitMs + DAY
    state.asOf = [{ ...after, types: ['pdp'] }]
    await track([await recordOf(offered)], strict)
    expect((await recordOf(offered)).waitsFor).toBe(
      'no source of the deal tracker sees places of the accepted kinds: market',
    )
    state.asOf = [
      { ...after, types: ['market', 'provider'] },
      { source: 'pdp', types: ['pdp'] },
    ]
    await track([await recordOf(offered)])
    expect((await recordOf(offered)).waitsFor, 'all kinds are accepted').toContain('no good run later than')
    await track([await recordOf(offered)], strict)
    await settle()
    expect(await recordOf(offered)).toMatchObject({ stage: 'failed' })
    state.asOf = undefined
  })

  it('that is not proven yet, or that the tracker does not know at an epoch, keeps an offer from failing', async () => {
    const offered = anAggregate('not proven')
    const promise = await offer(offered)
    for (const [change, reason] of [
      [
        { status: 'Pending' as const },
        'piece 3 of PDP data set 12 (eip155:314, 0xabab…abab), and not proven yet',
      ],
      [{ epoch: undefined as never }, 'no source of the deal tracker had a complete run yet'],
    ] as const) {
      state.places.set(`${offered.aggregate}`, [reported(toPlaceKey({ ...pdp, piece: 3 }), change)])
      await later(timing.dealWaitMs)
      expect((await recordOf(offered)).waitsFor).toContain(reason)
    }
    expect(await receiptOf(promise)).toBeUndefined()
    state.places.delete(`${offered.aggregate}`)
    await later(7 * DAY)
    expect(errorOf((await receiptOf(promise))!)).toMatchObject({ name: 'DealNotFound' })
  })
})

describe('a record of earlier code', () => {
  it('has the id of its deal, which is the key of its place', async () => {
    const offered = anAggregate('accepted yesterday')
    await offer(offered)
    const deal = nextDeal()
    publish(offered, { [deal]: {} })
    await later(HOUR)
    const { place, revision: _, ...record } = await recordOf(offered)
    expect(place).toBe(`${deal}`)
    const { v: __, place: ___, ...row } = tables.aggregate.encode({ ...record, place }) as Row
    expect(tables.aggregate.decode({ ...row, dealID: deal, v: 1 })).toEqual({ ...record, place })
  })
})

describe('D4: a deal is credited to one offer', () => {
  it('so an offer repeated with a nonce waits for a deal that is made after it', async () => {
    const offered = anAggregate('repeated with a nonce')
    const first = await offer(offered)
    const deals = [nextDeal(), nextDeal(), nextDeal()] as const
    publish(offered, { [deals[1]]: {} })
    await later()
    // Another replica, with a lower id.
    publish(offered, { [deals[0]]: {} })
    clock.now += DAY
    const again = await offer(offered, { nonce: 'again' })
    await later()
    expect([await dealOf(first), await dealOf(again)]).toEqual([deals[1], undefined])
    publish(offered, { [deals[2]]: {} })
    await later()
    expect(await dealOf(again)).toBe(deals[2])
    expect((await creditOf(deals[2]))?.aggregateId).toBe((await recordOf(offered, 'again')).id)
  })

  it('so a second storefront is not accepted with the deal of the first', async () => {
    const offered = anAggregate('second storefront')
    const first = await offer(offered)
    const second = await offer(offered, { tenant: OTHER_STOREFRONT })
    const [deal, other] = [nextDeal(), nextDeal()]
    publish(offered, { [deal]: {} })
    await later()
    await later()
    expect([await dealOf(first), await dealOf(second)]).toEqual([deal, undefined])
    publish(offered, { [other]: {} })
    await later()
    expect(await dealOf(second)).toBe(other)
  })

  it('and an offer fails at its deadline if all live deals are credited to others', async () => {
    const offered = anAggregate('all credited')
    await offer(offered)
    publish(offered, { [nextDeal()]: {} })
    await later()
    const second = await offer(offered, { tenant: OTHER_STOREFRONT })
    await later(timing.dealWaitMs)
    expect(errorOf((await receiptOf(second))!)).toMatchObject({ name: 'DealNotFound' })
  })

  it('which is the one that its label names', async () => {
    const offered = anAggregate('labelled')
    const first = await offer(offered)
    const second = await offer(offered, { tenant: OTHER_GROUP })
    const records = [await recordOf(offered), await recordOf(offered, undefined, ownerOf(OTHER_GROUP))]
    const [deal, other, strange] = [nextDeal(), nextDeal(), nextDeal()]
    // An offer document of another dealer.
    publish(offered, { [strange]: { label: `${offered.aggregate}/${'a'.repeat(43)}.json` } })
    // It names the second offer, so it does not matter when it was seen.
    const seen = { at: new Date(clock.now - 30 * DAY).toISOString(), epoch: 1 }
    publish(offered, { [deal]: { label: documentName(records[1]!), seen } })
    await later()
    expect([await dealOf(first), await dealOf(second)]).toEqual([undefined, deal])
    publish(offered, { [other]: { label: 'deal making may write anything' } })
    await later()
    expect(await dealOf(first)).toBe(other)
    expect(await creditOf(strange)).toBeUndefined()
  })

  it('which is the one with its label for people, among the offers of one aggregator', async () => {
    const offered = anAggregate('label for people')
    const first = await offer(offered)
    const second = await offer(offered, { tenant: { ...OTHER_GROUP, label: 'paid #1' } })
    const third = await offer(offered, { issuer: rival, tenant: { ...TENANT, label: 'copied' } })
    const deals = [nextDeal(), nextDeal(), nextDeal()] as const
    publish(offered, { [deals[0]]: { label: 'paid #1' }, [deals[1]]: { label: 'copied' } })
    await later()
    // The rival's label does not keep a deal from the first offer.
    expect([await dealOf(first), await dealOf(second)]).toEqual([deals[1], deals[0]])
    publish(offered, { [deals[2]]: { label: 'copied' } })
    await later()
    expect(await dealOf(third)).toBe(deals[2])
  })

  it('which is a retry, if the offer that it was made for has failed', async () => {
    const offered = anAggregate('made too late')
    await offer(offered)
    await report(await recordOf(offered))
    const [deal, labelled] = [nextDeal(), nextDeal()]
    clock.now += DAY
    publish(offered, { [deal]: {} })
    clock.now += DAY
    const stranger = await offer(offered, { nonce: 'a', tenant: OTHER_GROUP })
    const retry = await offer(offered, { nonce: 'b' })
    const again = await offer(offered, { nonce: 'c' })
    await later()
    expect([await dealOf(stranger), await dealOf(retry), await dealOf(again)]).toEqual([
      undefined,
      deal,
      undefined,
    ])
    publish(offered, { [labelled]: { label: documentName(await recordOf(offered)) } })
    await later()
    expect([await dealOf(stranger), await dealOf(again)]).toEqual([undefined, labelled])
  })

  it('although an earlier version accepted an offer with it, without recording a credit', async () => {
    const offered = anAggregate('accepted by yesterday')
    await offer(offered)
    const deal = nextDeal()
    publish(offered, { [deal]: {} })
    await later()
    await dependencies.stores.credit.removeMany([{ deal: `${deal}` }])
    const second = await offer(offered, { tenant: OTHER_STOREFRONT })
    await later()
    expect(await receiptOf(second)).toBeUndefined()
    expect(await creditOf(deal)).toMatchObject({ aggregateId: (await recordOf(offered)).id })
  })

  it.each<[string, (whole: Dependencies) => Partial<Dependencies>]>([
    [
      'the credit',
      ({ stores }) => ({ stores: { ...stores, credit: cut(stores.credit as never, 'insert' as never) } }),
    ],
    [
      'the receipt',
      ({ stores }) => ({ stores: { ...stores, receipts: cut(stores.receipts as never, 'put' as never) } }),
    ],
    [
      'the record',
      ({ stores }) => ({
        stores: { ...stores, aggregate: cut(stores.aggregate as never, 'replace' as never) },
      }),
    ],
  ])('and a run that is interrupted before %s is continued', async (how, cutting) => {
    const offered = anAggregate(`interrupted before ${how}`)
    const [first, second] = [await offer(offered), await offer(offered, { nonce: 'n' })]
    const [lower, deal] = [nextDeal(), nextDeal()]
    publish(offered, { [deal]: {} })
    const { failed } = await track(
      [await recordOf(offered)],
      createDealer({ ...dependencies, ...cutting(dependencies) }),
    )
    expect(failed).toMatchObject([{ message: 'Cut by the test' }])
    await aws.drain('track')
    publish(offered, { [lower]: {} })
    await later()
    await later()
    const deals = how === 'the credit' ? [lower, deal] : [deal, lower]
    expect([await dealOf(first), await dealOf(second)]).toEqual(deals)
  })

  it('by two runs at once that do not find the other offer in the index', async () => {
    const offered = anAggregate('two runs at once')
    const promises = [await offer(offered), await offer(offered, { tenant: OTHER_GROUP })]
    const records = [await recordOf(offered), await recordOf(offered, undefined, ownerOf(OTHER_GROUP))]
    const deals = [nextDeal(), nextDeal()]
    publish(offered, { [deals[0]!]: {}, [deals[1]!]: {} })
    const { stores } = dependencies
    const aggregate = { ...stores.aggregate, find: async () => ({ items: [] }) }
    // Both read the credits before one of them is written.
    const bothRead = Promise.withResolvers<void>()
    let reads = 0
    const credit: typeof stores.credit = {
      ...stores.credit,
      getMany: async keys => {
        const found = await stores.credit.getMany(keys)
        reads++
        if (reads === 2) bothRead.resolve()
        return found
      },
      insert: async record => {
        await bothRead.promise
        return stores.credit.insert(record)
      },
    }
    const { consumers } = createDealer({ ...dependencies, stores: { ...stores, aggregate, credit } })
    await track(records, { ...service, consumers } as typeof service)
    const { aggregateId } = (await creditOf(deals[0]!))!
    const winner = records.findIndex(({ id }) => id === aggregateId)
    expect(await dealOf(promises[winner]!)).toBe(deals[0])
    expect(await receiptOf(promises[1 - winner]!)).toBeUndefined()
    await later()
    expect(await dealOf(promises[1 - winner]!)).toBe(deals[1])
  })

  it('and passes to another one if the first ended without it', async () => {
    const offered = anAggregate('void credit')
    await offer(offered)
    const deal = nextDeal()
    publish(offered, { [deal]: {} })
    const { stores } = dependencies
    const receipts = cut(stores.receipts as never, 'put' as never)
    await track(
      [await recordOf(offered)],
      createDealer({ ...dependencies, stores: { ...stores, receipts } as never }),
    )
    await aws.drain('track')
    expect(await creditOf(deal)).toBeDefined()
    await report(await recordOf(offered))
    const retry = await offer(offered, { nonce: 'retry' })
    await later()
    expect(await dealOf(retry)).toBe(deal)
    expect(await creditOf(deal)).toMatchObject({ aggregateId: (await recordOf(offered, 'retry')).id })
  })

  it('and an entry with market id 0 is not a deal', async () => {
    const offered = anAggregate('market id 0')
    const promise = await offer(offered)
    publish(offered, { 0: {} })
    await later()
    expect([await receiptOf(promise), await creditOf(0)]).toEqual([undefined, undefined])
  })

  it('also if the clock was ten days ahead when the offer was made', async () => {
    const offered = anAggregate('clock ahead')
    clock.now += 10 * DAY
    const promise = await offer(offered)
    clock.now -= 10 * DAY
    const deal = nextDeal()
    publish(offered, { [deal]: {} })
    await track([await recordOf(offered)])
    expect(await dealOf(promise)).toBe(deal)
  })

  it('and one that is older than every offer is neither credited nor a reason to fail', async () => {
    const offered = anAggregate('older than every offer')
    const deal = nextDeal()
    publish(offered, { [deal]: {} })
    clock.now += DAY
    const promise = await offer(offered)
    await later(timing.dealWaitMs)
    const record = await current(await recordOf(offered))
    expect(record).toMatchObject({
      stage: 'offered',
      waitsFor: expect.stringContaining(`deal ${deal} is live`),
    })
    expect([await receiptOf(promise), await creditOf(deal)]).toEqual([undefined, undefined])
    // A label that names another offer settles it.
    publish(offered, { [deal]: { label: `${offered.aggregate}/${'b'.repeat(43)}.json` } })
    await later(DAY)
    expect(errorOf((await receiptOf(promise))!)).toMatchObject({ name: 'DealNotFound' })
  })
})
