import { Delegation } from '@ucanto/core'
import type { Invocation } from '@ucanto/interface'
import { epochToMs, findLivePlaces, type PlaceStatus, Tasks } from '@w3filecoin/capabilities'
import { ask, effectsOf, served } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { type AggregateStage, nextCheckMs } from '../src/domain/aggregate.ts'
import { documentName } from '../src/domain/offer-document.ts'
import { readTenant } from '../src/domain/tenant.ts'
import { createDealer } from '../src/index.ts'

import {
  anAggregate,
  asked,
  aws,
  blockOf,
  clock,
  dealer,
  delivered,
  dependencies,
  documentFor,
  documentOf,
  errorOf,
  later,
  type Offered,
  offer,
  offerOf,
  publish,
  recordOf,
  service,
  state,
  stranger,
  TENANT,
  timing,
  tracker,
} from './setup.ts'

describe('aggregate/offer', () => {
  it('promises aggregate/accept, and writes the offer document', async () => {
    const offered = anAggregate('first')
    const receipt = await offer(offered)
    expect(receipt.out).toMatchObject({ ok: { aggregate: offered.aggregate } })
    const [capability] = (receipt.fx.join as Invocation).capabilities
    expect(capability).toMatchObject({ can: 'aggregate/accept', with: dealer.did() })

    const record = await recordOf(offered)
    expect(await documentOf(documentName(record))).toEqual(documentFor(offered, clock.now))
  })

  it('repeated gives the same result and effects; with a nonce it is processed anew', async () => {
    const offered = anAggregate('again')
    const first = await offer(offered)
    expect(effectsOf(await offer(offered, { attach: false }))).toEqual(effectsOf(first))
    const anew = await offer(offered, { nonce: 'anew' })
    expect(effectsOf(anew)).not.toEqual(effectsOf(first))
    const record = await recordOf(offered, 'anew')
    expect(await documentOf(documentName(record))).toMatchObject({
      aggregate: `${offered.aggregate}`,
    })
  })

  it.each([
    ['without the block of pieces', (offered: Offered) => offerOf(offered, { attach: false })],
    ['with other pieces', (offered: Offered) => offerOf({ ...offered, pieces: offered.pieces.slice(1) })],
    [
      'with the pieces in another order',
      (offered: Offered) => offerOf({ ...offered, pieces: offered.pieces.toReversed() }),
    ],
    [
      'with an entry that is not a link',
      (offered: Offered) => offerOf({ ...offered, pieces: ['x' as never] }),
    ],
    ['with a null entry', (offered: Offered) => offerOf({ ...offered, pieces: [null as never] })],
    [
      'with a map instead of a list',
      (offered: Offered) => offerOf({ ...offered, pieces: { a: 1 } as never }),
    ],
  ])('%s is refused, and changes nothing', async (name, make) => {
    const offered = anAggregate(name)
    const receipt = await ask(service.api, await make(offered))
    expect(errorOf(receipt)).toMatchObject({ name: 'InvalidPiece', cause: expect.any(Array) })
    expect(receipt.fx).toEqual({ fork: [] })
    expect(await served(service.api, receipt.ran.link())).toBeUndefined()
  })

  it('is accepted from listed aggregators, and from holders of a delegation', async () => {
    const offered = anAggregate('authority')
    expect(errorOf(await offer(offered, { issuer: stranger }))).toMatchObject({ name: 'UnknownAggregator' })
    const proof = await Delegation.delegate({
      issuer: dealer,
      audience: stranger,
      capabilities: [{ can: 'aggregate/offer', with: dealer.did() }],
    })
    const block = await blockOf(offered.pieces)
    const delegated = await Tasks.aggregateOffer(
      stranger,
      dealer,
      { aggregate: offered.aggregate, pieces: block.cid as never, tenant: TENANT, block: block as never },
      { with: dealer.did(), proofs: [proof] },
    )
    // The delegation says nothing about tenants, so its holder may name only itself.
    expect(errorOf(await ask(service.api, delegated))).toMatchObject({
      name: 'TenantNotListed',
      message: expect.stringContaining('which does not list the aggregator'),
    })
    const own = await Tasks.aggregateOffer(
      stranger,
      dealer,
      {
        aggregate: offered.aggregate,
        pieces: block.cid as never,
        tenant: { ...TENANT, storefront: stranger.did() },
        block: block as never,
      },
      { with: dealer.did(), proofs: [proof] },
    )
    expect((await ask(service.api, own)).out).toMatchObject({ ok: { aggregate: offered.aggregate } })
  })
})

describe('aggregate/accept', () => {
  it('has no receipt until a deal is live', async () => {
    const { fx } = await offer(anAggregate('waits'))
    await later()
    expect(asked.length).toBeGreaterThan(0)
    expect(await served(service.api, fx.join!.link())).toBeUndefined()
    const early = await ask(service.api, fx.join as Invocation)
    expect(errorOf(early)).toMatchObject({ name: 'OutcomePending' })
  })

  it('ends when a deal is live, and its receipt is sent to the aggregator', async () => {
    const offered = anAggregate('lives')
    const { fx } = await offer(offered)
    publish(offered, { 12: { status: 'Expired' }, 40: {}, 35: {} })
    await later()
    const receipt = await served(service.api, fx.join!.link())
    expect(receipt?.out).toEqual({
      ok: { aggregate: offered.aggregate, dataType: 0, dataSource: { dealID: 35 } },
    })
    expect(receipt?.fx).toEqual({ fork: [] })
    expect(delivered.map(({ ran }) => `${ran.link()}`)).toContain(`${fx.join!.link()}`)
    // The dealer may invoke the task itself, and gets the served receipt.
    expect(`${(await ask(service.api, fx.join as Invocation)).root.cid}`).toBe(`${receipt?.root.cid}`)

    asked.length = 0
    await later()
    expect(
      asked.filter(({ capabilities }) => `${capabilities[0]?.nb}`.includes(`${offered.aggregate}`)),
    ).toEqual([])
    expect((await recordOf(offered)).checkAt).toBeUndefined()
  })

  it('is checked again by the sweep if the tracker could not be reached', async () => {
    const offered = anAggregate('tries')
    const { fx } = await offer(offered)
    publish(offered, { 7: {} })
    state.trackerDown = true
    clock.now += timing.pollMs + 1
    await service.schedules.sweep?.()
    const before = await recordOf(offered)
    expect(before).toMatchObject({ stage: 'offered', checkAt: clock.now + timing.pollMs })
    // The record waits for the sweep. The message must not become a dead letter.
    const logged: string[] = []
    const { consumers } = createDealer({ ...dependencies, log: (_, event) => logged.push(event) })
    const { taken, failed } = await aws.deliver('track', consumers.track as never)
    expect(taken).toBeGreaterThan(0)
    expect(failed).toEqual([])
    expect(new Set(logged)).toEqual(new Set(['peer not reached']))
    const { checkAt, due } = before
    expect(await recordOf(offered)).toMatchObject({
      stage: 'offered',
      checkAt,
      due,
      trouble: { message: `${tracker.did()} cannot be reached`, at: clock.now, times: 1 },
    })

    state.trackerDown = false
    await aws.settle(service.consumers)
    expect(await served(service.api, fx.join!.link()), 'not yet').toBeUndefined()
    await later()
    expect(await served(service.api, fx.join!.link())).toBeDefined()
    expect(await recordOf(offered)).not.toHaveProperty('trouble')
  })

  it('has no trouble any more once the tracker has answered that there is no deal', async () => {
    const offered = anAggregate('tries again')
    await offer(offered)
    state.trackerDown = true
    await later()
    expect(await recordOf(offered)).toMatchObject({ trouble: { times: 1 } })
    await later()
    expect(await recordOf(offered)).toMatchObject({ trouble: { times: 2 } })
    state.trackerDown = false
    await later()
    expect(await recordOf(offered)).toMatchObject({ stage: 'offered' })
    expect(await recordOf(offered)).not.toHaveProperty('trouble')
  })
})

describe('findLivePlaces', () => {
  it.each<[string, object, number[]]>([
    ['none', {}, []],
    ['an expired one', { 1: { status: 'Expired' } }, []],
    ['several', { 30: { status: 'Active' }, 4: { status: 'Active' }, 1: { status: 'Terminated' } }, [4, 30]],
    ['one without a market id', { 0: { status: 'Active' }, undefined: { status: 'Active' } }, []],
    [
      'one whose id is no count',
      { 7.5: { status: 'Active' }, '1e3': { status: 'Active' }, '-1': { status: 'Active' } },
      [],
    ],
  ])('of %s', (_, known, expected) => {
    const live = findLivePlaces({ deals: known as never, places: [] })
    expect(live.map(({ key }) => Number(key))).toEqual(expected)
  })

  const verifier = `0x${'ab'.repeat(20)}`
  const pdp = `pdp:314/${verifier}/12/0`
  const place = (key: string, more: Partial<PlaceStatus> = {}): PlaceStatus => ({
    type: key.startsWith('pdp') ? 'pdp' : 'sector',
    key,
    provider: 'f01001',
    status: 'Active',
    pieceCid: 'baga…',
    epoch: 200,
    seen: { at: '', epoch: 100 },
    ...more,
  })
  it('has deals first, then sectors, then PDP, only live ones that a good run saw, and only of the wanted kinds', () => {
    const known = {
      deals: { 7: { status: 'Active' } } as never,
      places: [
        place(pdp, { faulty: true }),
        place('sector:f01001/9', { status: 'Pending' }),
        place('sector:f01001/8', { epoch: undefined as never }),
        place('sector:f01001/7', { epoch: -1 }),
        place('sector:f01001/6', { epoch: '200' as never }),
        place('sector:f01001/77'),
        place('f01001', { type: 'provider' }),
        place('7', { type: 'sector' }),
      ],
    }
    expect(findLivePlaces(known).map(({ key }) => key)).toEqual(['7', 'sector:f01001/77', pdp])
    expect(findLivePlaces(known, ['pdp'])).toEqual([
      {
        place: { type: 'pdp', chain: 314, verifier, dataSet: 12, piece: 0 },
        key: pdp,
        seenAt: epochToMs(100),
        epoch: 200,
      },
    ])
    expect(findLivePlaces(known, ['market']).map(({ key }) => key)).toEqual(['7'])
  })
})

describe('nextCheckMs', () => {
  const now = 1_700_000_000_000
  it.each<[AggregateStage, ageMs: number, expected: number]>([
    ['failed', 0, 60],
    ['failed', 59, 60],
    ['failed', 500, 500],
    ['failed', 5_000, 900],
    ['accepted', 5_000, 900],
    ['offered', -5_000, 900],
    ['offered', 0, 900],
    ['offered', 360_000, 900],
    ['offered', 1_440_000, 3_600],
    ['offered', 365 * 86_400_000, 21_600_000],
  ])('of an aggregate that is %s for %s ms', (stage, ageMs, expected) => {
    const endedAt = stage === 'offered' ? undefined : now - ageMs
    const record = { stage, offeredAt: now - ageMs, endedAt }
    expect(nextCheckMs(record, now, { retryMs: 60, pollMs: 900 })).toBe(expected)
  })
})

describe('readTenant', () => {
  it('reads the facts; the default is the resource', () => {
    expect(readTenant([{ other: 1 }, { ...TENANT }], 'did:key:a')).toEqual(TENANT)
    expect(readTenant([{ group: 7 }], 'did:key:a')).toEqual({
      storefront: 'did:key:a',
      group: 'did:key:a',
      label: 'did:key:a',
    })
  })
})
