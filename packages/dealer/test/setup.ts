import { GetObjectCommand } from '@aws-sdk/client-s3'
import { code as CBOR, encode } from '@ipld/dag-cbor'
import type { Invocation, Receipt } from '@ucanto/interface'
import { putJson } from '@w3filecoin/aws'
import {
  type Deal,
  type DealInfoSuccess,
  dealInfo,
  dealWatch,
  epochToMs,
  type Failure,
  failure,
  type PieceLink,
  type PlaceStatus,
  pieceOffer,
  type SourceState,
  Tasks,
  type Tenant,
} from '@w3filecoin/capabilities'
import { buildAggregate } from '@w3filecoin/piece'
import {
  Authority,
  concludeHandler,
  configuredPeers,
  openQueues,
  openStores,
  Peer,
  provide,
} from '@w3filecoin/runtime'
import {
  ask,
  networkOf,
  type Provided,
  type StandIn,
  signersOf,
  somePiece,
  standIn,
  startWorld,
  type World,
} from '@w3filecoin/testing'
import { sha256 } from 'multiformats/hashes/sha2'
import { create as createLink } from 'multiformats/link'
import { afterAll, beforeAll, beforeEach, expect } from 'vitest'
import { policiesOf } from '../src/config.ts'
import { aggregateId, type Owner } from '../src/domain/aggregate.ts'
import { BATCHING } from '../src/domain/batching.ts'
import { createDealer, type Dependencies, messages, tables } from '../src/index.ts'
import { resources } from '../src/resources.ts'
import { wholesIn } from '../src/wholes/bucket.ts'

export const { dealer, aggregator, rival, stranger, tracker, customer, broker } = await signersOf(
  'dealer',
  'aggregator',
  'rival',
  'stranger',
  'tracker',
  'customer',
  'broker',
)

let world: World
export let aws: Provided<typeof resources>
export let dependencies: Dependencies
export let service: ReturnType<typeof createDealer>

export const clock = { now: 1_700_000_000_000 }
const DAY = 24 * 3_600_000
export const timing = { retryMs: 60_000, pollMs: 900_000, dealWaitMs: 14 * DAY, liveMs: DAY }

/** What the tracker knows, by aggregate; how the tracker and the aggregators behave, and what reached them. */
interface State {
  deals: Map<string, DealInfoSuccess['deals']>
  places: Map<string, PlaceStatus[]>
  /** The last good runs of the tracker's sources. By default, one source was read a moment ago. */
  asOf?: SourceState[] | undefined
  trackerRefusal?: Failure | undefined
  watchRefusal?: Failure | undefined
  trackerDown: boolean
  aggregatorDown: boolean
}
const initial = (): State => ({
  deals: new Map(),
  places: new Map(),
  asOf: undefined,
  trackerRefusal: undefined,
  watchRefusal: undefined,
  trackerDown: false,
  aggregatorDown: false,
})
export const state = initial()
export const asked: Invocation[] = []
/** The ids of the deals that the tracker was asked to search. */
export const watched: number[] = []
export const delivered: Receipt[] = []
/** The retries that reached the aggregator, and its refusals by piece. */
export const retried: Invocation[] = []
export const refusals = new Map<string, Failure>()

beforeAll(async () => {
  world = await startWorld()
  aws = await world.provide(resources)
  const authority = new Authority()
  const theTracker = await standIn(world, {
    name: 'the-tracker',
    id: tracker,
    authority,
    handlers: [
      provide(dealInfo, async ({ invocation }) => {
        asked.push(invocation)
        if (state.trackerRefusal) return { out: { error: state.trackerRefusal } }
        const { piece } = invocation.capabilities[0].nb as { piece: PieceLink }
        const asOf = state.asOf ?? [sourceAt(clock.now)]
        const { [`${piece}`]: deals = {} } = Object.fromEntries(state.deals)
        const places = state.places.get(`${piece}`) ?? []
        return Object.keys(deals).length + places.length === 0
          ? { out: { error: failure('DealNotFound', 'No deal is known', { piece, asOf }) } }
          : { out: { ok: { deals, places, asOf } } }
      }),
      provide(dealWatch, async ({ capability: { nb } }) => {
        if (state.watchRefusal) return { out: { error: state.watchRefusal } }
        watched.push(nb.dealID)
        return { out: { ok: { sources: ['market'] } } }
      }),
    ],
  })
  const anAggregator = (name: string, id: typeof aggregator) =>
    standIn(world, {
      name,
      id,
      authority,
      handlers: [
        concludeHandler({
          authority,
          senders: { dealer: dealer.did() },
          now: () => 0,
          routes: {
            'aggregate/accept': async receipt => {
              delivered.push(receipt)
              return { ok: {} }
            },
          },
        }),
        provide(pieceOffer, async ({ capability: { nb }, invocation }) => {
          retried.push(invocation)
          const refusal = refusals.get(`${nb.piece}`)
          return { out: refusal ? { error: refusal } : { ok: { piece: nb.piece } } }
        }),
      ],
    })
  const theAggregator = await anAggregator('the-aggregator', aggregator)
  const theRival = await anAggregator('the-rival', rival)
  const network = networkOf(() => [theTracker, theAggregator, theRival])
  const peer = (to: StandIn) =>
    new Peer(to, {
      authority,
      fetch: async (url, init) => {
        const down = to === theTracker ? state.trackerDown : state.aggregatorDown
        if (down) throw new TypeError('fetch failed')
        return network(url, init)
      },
    })
  dependencies = {
    id: dealer,
    stores: openStores(aws, tables, { now: () => clock.now }),
    queues: openQueues(aws, messages),
    pieceSources: new Map([[TENANT.storefront, 'https://storefront.test/piece/{permit}/{piece}']]),
    offerDocuments: {
      put: (key, document) => putJson({ ...aws.bucket('offers'), key, value: document }),
    },
    aggregators: configuredPeers([theAggregator, theRival].map(peer)),
    allowedTenants: configuredPeers([
      { did: aggregator.did(), tenants: 'all' },
      { did: rival.did(), tenants: [TENANT.storefront] },
    ]),
    storefronts: configuredPeers([{ did: customer.did() }]),
    brokers: configuredPeers([{ did: broker.did() }]),
    dealTracker: peer(theTracker),
    policies: policiesOf({ policies: [] }),
    targets: [],
    wholes: wholesIn(() => aws.bucket('wholes')),
    door: 'https://dealer.test',
    keepWholeMs: 7 * DAY,
    fetchContent: fetch,
    authority,
    dialects: [],
    timing,
    batching: BATCHING,
    now: () => clock.now,
    random: () => `${Math.random()}`,
    log: () => {},
    metrics: () => {},
    checks: [],
  }
  service = aws.host(createDealer(dependencies))
})

afterAll(() => world?.stop())

beforeEach(async () => {
  for (const queue of ['track', 'report', 'retry', 'conclude'] as const) await aws.drain(queue)
  Object.assign(state, initial())
  for (const seen of [asked, watched, delivered, retried]) seen.length = 0
  refusals.clear()
})

export const TENANT: Tenant = {
  storefront: 'did:web:store.example',
  group: 'did:web:free.example',
  label: 'free #7',
}

/** A source whose last good run read the state of the chain at that time. */
export const sourceAt = (time: number, source = 'chain'): SourceState => {
  let epoch = Math.floor((time - epochToMs(0)) / 30_000)
  if (epochToMs(epoch) <= time) epoch += 1
  return { source, at: new Date(time).toISOString(), epoch }
}

/** Publishes deals of an aggregate, by id. They are active, and were seen first now, unless the fields say otherwise. */
export const publish = ({ aggregate }: Offered, deals: Record<number | string, Partial<Deal>>): void => {
  const now = new Date(clock.now).toISOString()
  const complete = Object.entries(deals).map(([id, deal]): [string, Deal] => [
    id,
    {
      provider: 'f01000',
      storageProvider: 'f01000',
      status: 'Active',
      pieceCid: 'baga…',
      expiration: now,
      created: now,
      updated: now,
      ...deal,
    },
  ])
  state.deals.set(`${aggregate}`, { ...state.deals.get(`${aggregate}`), ...Object.fromEntries(complete) })
}

export interface Offered {
  aggregate: PieceLink
  pieces: readonly PieceLink[]
}

/** An aggregate of pieces that depend on the name. */
export const anAggregate = (name: string): Offered => {
  const { ok } = buildAggregate({ pieces: [4, 3, 6].map(height => somePiece(name, height)), size: 2 ** 16 })
  if (!ok) throw new Error('The test pieces do not make an aggregate')
  return { aggregate: ok.link, pieces: ok.pieces }
}

export const blockOf = async (value: unknown) => {
  const bytes = encode(value)
  return { cid: createLink(CBOR, await sha256.digest(bytes)), bytes }
}

export const offerOf = async (
  { aggregate, pieces }: Offered,
  {
    issuer = aggregator,
    nonce,
    tenant = TENANT,
    attach = true,
  }: { issuer?: typeof aggregator; nonce?: string; tenant?: Tenant; attach?: boolean } = {},
) => {
  const block = await blockOf(pieces)
  return Tasks.aggregateOffer(issuer, dealer, {
    aggregate,
    pieces: block.cid as never,
    nonce,
    tenant,
    block: attach ? (block as never) : undefined,
  })
}

export const offer = async (
  offered: Offered,
  options?: Parameters<typeof offerOf>[1],
  api = service.api,
): Promise<Receipt> => ask(api, await offerOf(offered, options))

export const errorOf = ({ out }: Receipt) =>
  out.error as { name: string; message: string; cause?: object[] } | undefined

export const documentOf = async (name: string) => {
  const { client, bucket } = aws.bucket('offers')
  const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: name }))
  return JSON.parse((await Body?.transformToString()) as string)
}

/** The document that is expected for an aggregate of {@link TENANT}. */
export const documentFor = ({ aggregate, pieces }: Offered, orderID: number) => ({
  aggregate: `${aggregate}`,
  pieces: pieces.map(piece => `${piece}`),
  source: expect.stringMatching(
    new RegExp(`^https://storefront\\.test/piece/\\d+\\.${aggregate}\\.[\\w-]{86}/\\{piece\\}$`),
  ),
  collection: TENANT.group,
  tenant: TENANT.storefront,
  group: TENANT.group,
  label: TENANT.label,
  orderID,
})

/** @param owner set if an offer of another owner was first */
export const recordOf = async ({ aggregate, pieces }: Offered, nonce?: string, owner?: Owner) => {
  const { cid } = await blockOf(pieces)
  const id = aggregateId({ aggregate: `${aggregate}`, piecesCid: `${cid}`, nonce }, owner)
  const record = await dependencies.stores.aggregate.get({ id })
  if (!record) throw new Error(`There is no record of ${aggregate}`)
  return record
}

/** Runs the sweep after so many milliseconds, and handles all messages that follow. */
export const later = async (milliseconds = timing.pollMs + 1) => {
  clock.now += milliseconds
  await service.schedules.sweep?.()
  await aws.settle(service.consumers)
}
