import { GetObjectCommand } from '@aws-sdk/client-s3'
import { code as CBOR, encode } from '@ipld/dag-cbor'
import { Delegation } from '@ucanto/core'
import type { Invocation, Receipt } from '@ucanto/interface'
import { putObject } from '@w3filecoin/aws'
import {
  type Deal,
  type DealInfoSuccess,
  dealInfo,
  failure,
  type PieceLink,
  Tasks,
} from '@w3filecoin/capabilities'
import { buildAggregate } from '@w3filecoin/piece'
import { Authority, concludeHandler, Peer, provide, ReceiptLog } from '@w3filecoin/service'
import {
  ask,
  effectsOf,
  networkOf,
  type Provided,
  type StandIn,
  served,
  signersOf,
  somePiece,
  standIn,
  startWorld,
  type World,
} from '@w3filecoin/testing'
import { sha256 } from 'multiformats/hashes/sha2'
import { create as createLink } from 'multiformats/link'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { aggregateId } from '../src/domain/aggregate.ts'
import { liveDeal } from '../src/domain/deal.ts'
import { documentName, tenantOf } from '../src/domain/offer-document.ts'
import { createDealer, type Dependencies } from '../src/index.ts'
import { resources } from '../src/resources.ts'

const { dealer, aggregator, stranger, tracker } = await signersOf(
  'dealer',
  'aggregator',
  'stranger',
  'tracker',
)

let world: World
let aws: Provided<typeof resources>
let parts: Dependencies
let service: ReturnType<typeof createDealer>

const clock = { now: 1_700_000_000_000 }
const timing = { retry: 60_000, poll: 900_000 }

/** What the tracker knows, what it was asked, and what reached the aggregator. */
let deals: Record<string, Partial<Deal>> = {}
let trackerDown = false
const asked: Invocation[] = []
const told: string[] = []

beforeAll(async () => {
  world = await startWorld()
  aws = await world.provide(resources)
  const authority = new Authority([])
  const theTracker = await standIn(world, {
    name: 'the-tracker',
    id: tracker,
    authority,
    handlers: [
      provide(dealInfo, async ({ invocation }) => {
        asked.push(invocation)
        return Object.keys(deals).length === 0
          ? { out: { error: failure('DealNotFound', 'No deal is known') } }
          : { out: { ok: { deals } as unknown as DealInfoSuccess } }
      }),
    ],
  })
  const theAggregator = await standIn(world, {
    name: 'the-aggregator',
    id: aggregator,
    authority,
    handlers: [
      concludeHandler({
        authority,
        from: [dealer.did()],
        now: () => 0,
        take: {
          'aggregate/accept': async (_, ran) => {
            told.push(`${ran.cid}`)
            return { ok: {} }
          },
        },
      }),
    ],
  })
  const network = networkOf(() => [theTracker, theAggregator])
  const peer = (to: StandIn) =>
    new Peer(to, {
      authority,
      fetch: async (url, init) => {
        if (trackerDown && to === theTracker) throw new TypeError('fetch failed')
        return network(url, init)
      },
    })
  const blocks = aws.blocks('blocks')
  parts = {
    id: dealer,
    stores: {
      aggregates: aws.table('aggregate'),
      receipts: new ReceiptLog({ table: aws.table('receipt'), blocks, now: () => clock.now }),
      blocks,
      offers: {
        put: (key, document) =>
          putObject({
            ...aws.bucket('offers'),
            key,
            bytes: Buffer.from(JSON.stringify(document)),
            type: 'application/json',
          }),
      },
    },
    queues: { track: aws.queue('track'), conclude: aws.queue('conclude') },
    aggregators: new Map([[aggregator.did(), peer(theAggregator)]]),
    dealTracker: peer(theTracker),
    authority,
    timing,
    now: () => clock.now,
    random: () => `${Math.random()}`,
    log: () => {},
  }
  service = createDealer(parts)
})

afterAll(() => world?.stop())

beforeEach(() => {
  deals = {}
  trackerDown = false
  asked.length = 0
  told.length = 0
})

const TENANT = {
  storefront: 'did:web:store.example',
  group: 'did:web:free.example',
  label: 'free #7',
} as const

interface Offered {
  aggregate: PieceLink
  pieces: readonly PieceLink[]
}

/** An aggregate of pieces that nobody else has. */
const anAggregate = (name: string): Offered => {
  const { ok } = buildAggregate({ pieces: [4, 3, 6].map(height => somePiece(name, height)), size: 2 ** 16 })
  if (!ok) throw new Error('They make an aggregate')
  return { aggregate: ok.link, pieces: ok.pieces }
}

const blockOf = async (value: unknown) => {
  const bytes = encode(value)
  return { cid: createLink(CBOR, await sha256.digest(bytes)), bytes }
}

const offerOf = async (
  { aggregate, pieces }: Offered,
  {
    issuer = aggregator,
    nonce,
    attach = true,
  }: { issuer?: typeof aggregator; nonce?: string; attach?: boolean } = {},
) => {
  const block = await blockOf(pieces)
  return Tasks.aggregateOffer(issuer, dealer, {
    aggregate,
    pieces: block.cid as never,
    nonce,
    tenant: TENANT,
    block: attach ? (block as never) : undefined,
  })
}

const offer = async (offered: Offered, options?: Parameters<typeof offerOf>[1]): Promise<Receipt> =>
  ask(service.api, await offerOf(offered, options))

const errorOf = ({ out }: Receipt) =>
  out.error as { name: string; message: string; cause?: object[] } | undefined

const documentOf = async (name: string) => {
  const { client, bucket } = aws.bucket('offers')
  const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: name }))
  return JSON.parse((await Body?.transformToString()) as string)
}

describe('aggregate/offer', () => {
  it('is answered with the task that ends it, and hands the aggregate to deal making', async () => {
    const offered = anAggregate('first')
    const receipt = await offer(offered)
    expect(receipt.out).toMatchObject({ ok: { aggregate: offered.aggregate } })
    const [capability] = (receipt.fx.join as Invocation).capabilities
    expect(capability).toMatchObject({ can: 'aggregate/accept', with: dealer.did() })

    const record = await recordOf(offered)
    expect(await documentOf(documentName(record))).toEqual({
      aggregate: `${offered.aggregate}`,
      pieces: offered.pieces.map(piece => `${piece}`),
      collection: TENANT.group,
      tenant: TENANT.storefront,
      group: TENANT.group,
      label: TENANT.label,
      orderID: clock.now,
    })
  })

  it('again gives the same result and effects; with a nonce it is processed anew', async () => {
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
    ['with what is no piece', (offered: Offered) => offerOf({ ...offered, pieces: ['x' as never] })],
    ['with nothing for a piece', (offered: Offered) => offerOf({ ...offered, pieces: [null as never] })],
    ['with what is no list', (offered: Offered) => offerOf({ ...offered, pieces: { a: 1 } as never })],
  ])('%s is refused, and changes nothing', async (name, make) => {
    const offered = anAggregate(name)
    const receipt = await ask(service.api, await make(offered))
    expect(errorOf(receipt)).toMatchObject({ name: 'InvalidPiece', cause: expect.any(Array) })
    expect(receipt.fx).toEqual({ fork: [] })
    expect(await served(service.api, receipt.ran.link())).toBeUndefined()
  })

  it('is taken from listed aggregators, and from who holds a delegation', async () => {
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
    expect((await ask(service.api, delegated)).out).toMatchObject({ ok: { aggregate: offered.aggregate } })
  })
})

describe('aggregate/accept', () => {
  const live = { status: 'Active', provider: 'f01000' }

  /** What a sweep does when the records' time has come. */
  const later = async () => {
    clock.now += timing.poll + 1
    await service.schedules.sweep?.()
    await aws.settle(service.consumers)
  }

  it('has no receipt while there is no deal', async () => {
    const { fx } = await offer(anAggregate('waits'))
    await later()
    expect(asked.length).toBeGreaterThan(0)
    expect(await served(service.api, fx.join!.link())).toBeUndefined()
    const early = await ask(service.api, fx.join as Invocation)
    expect(errorOf(early)).toMatchObject({ name: 'OutcomePending' })
  })

  it('ends with the deal when one is live, and the aggregator is told', async () => {
    const offered = anAggregate('lives')
    const { fx } = await offer(offered)
    deals = { 12: { ...live, status: 'Expired' }, 40: live, 35: live }
    await later()
    const receipt = await served(service.api, fx.join!.link())
    expect(receipt?.out).toEqual({
      ok: { aggregate: offered.aggregate, dataType: 0, dataSource: { dealID: 35 } },
    })
    expect(receipt?.fx).toEqual({ fork: [] })
    expect(told).toContain(`${fx.join!.link()}`)
    // The service itself may ask for it, and gets the receipt that is served.
    expect(`${(await ask(service.api, fx.join as Invocation)).root.cid}`).toBe(`${receipt?.root.cid}`)

    asked.length = 0
    await later()
    expect(
      asked.filter(({ capabilities }) => `${capabilities[0]?.nb}`.includes(`${offered.aggregate}`)),
    ).toEqual([])
    expect((await recordOf(offered)).checkAt).toBeUndefined()
  })

  it('is asked for again when the tracker could not be reached', async () => {
    const { fx } = await offer(anAggregate('tries'))
    deals = { 7: live }
    trackerDown = true
    clock.now += timing.poll + 1
    await service.schedules.sweep?.()
    const { failed } = await aws.deliver('track', service.consumers.track as never)
    expect(failed).toHaveLength(1)
    trackerDown = false
    await aws.settle(service.consumers)
    expect(await served(service.api, fx.join!.link())).toBeDefined()
  })
})

describe('liveDeal', () => {
  it.each([
    ['none', {}, undefined],
    ['an expired one', { 1: { status: 'Expired' } }, undefined],
    ['several', { 30: { status: 'Active' }, 4: { status: 'Active' }, 1: { status: 'Terminated' } }, 4],
  ])('of %s', (_, known, expected) => {
    expect(liveDeal({ deals: known as never })).toBe(expected)
  })
})

describe('tenantOf', () => {
  it('reads the facts, and takes the aggregator for what they leave out', () => {
    expect(tenantOf([{ other: 1 }, { ...TENANT }], 'did:key:a')).toEqual(TENANT)
    expect(tenantOf([{ group: 7 }], 'did:key:a')).toEqual({
      storefront: 'did:key:a',
      group: 'did:key:a',
      label: 'did:key:a',
    })
  })
})

const recordOf = async ({ aggregate }: Offered, nonce?: string) => {
  const record = await parts.stores.aggregates.get({ id: aggregateId({ aggregate: `${aggregate}`, nonce }) })
  if (!record) throw new Error(`There is no record of ${aggregate}`)
  return record
}
