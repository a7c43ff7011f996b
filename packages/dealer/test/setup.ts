import { GetObjectCommand } from '@aws-sdk/client-s3'
import { code as CBOR, encode } from '@ipld/dag-cbor'
import type { Invocation, Receipt } from '@ucanto/interface'
import { putJson } from '@w3filecoin/aws'
import {
  type Deal,
  type DealInfoSuccess,
  dealInfo,
  type Failure,
  failure,
  type PieceLink,
  pieceOffer,
  Tasks,
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
import { afterAll, beforeAll, beforeEach } from 'vitest'
import { aggregateId } from '../src/domain/aggregate.ts'
import { BATCHING } from '../src/domain/batching.ts'
import { createDealer, type Dependencies, messages, tables } from '../src/index.ts'
import { resources } from '../src/resources.ts'

export const { dealer, aggregator, stranger, tracker } = await signersOf(
  'dealer',
  'aggregator',
  'stranger',
  'tracker',
)

let world: World
export let aws: Provided<typeof resources>
export let dependencies: Dependencies
export let service: ReturnType<typeof createDealer>

export const clock = { now: 1_700_000_000_000 }
const DAY = 24 * 3_600_000
export const timing = { retryMs: 60_000, pollMs: 900_000, dealWaitMs: 14 * DAY }

/** The deals that the tracker knows, how the tracker and the aggregator behave, and what reached them. */
export const state: {
  deals: Record<string, Partial<Deal>>
  trackerRefusal?: Failure | undefined
  trackerDown: boolean
  aggregatorDown: boolean
} = { deals: {}, trackerDown: false, aggregatorDown: false }
export const asked: Invocation[] = []
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
        return Object.keys(state.deals).length === 0
          ? { out: { error: failure('DealNotFound', 'No deal is known') } }
          : { out: { ok: { deals: state.deals } as unknown as DealInfoSuccess } }
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
        senders: [dealer.did()],
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
  const network = networkOf(() => [theTracker, theAggregator])
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
    offerDocuments: {
      put: (key, document) => putJson({ ...aws.bucket('offers'), key, value: document }),
    },
    aggregators: configuredPeers([peer(theAggregator)]),
    dealTracker: peer(theTracker),
    authority,
    timing,
    batching: BATCHING,
    now: () => clock.now,
    random: () => `${Math.random()}`,
    log: () => {},
  }
  service = aws.host(createDealer(dependencies))
})

afterAll(() => world?.stop())

beforeEach(async () => {
  for (const queue of ['track', 'report', 'retry', 'conclude'] as const) await aws.drain(queue)
  Object.assign(state, { deals: {}, trackerRefusal: undefined, trackerDown: false, aggregatorDown: false })
  for (const seen of [asked, delivered, retried]) seen.length = 0
  refusals.clear()
})

export const TENANT = {
  storefront: 'did:web:store.example',
  group: 'did:web:free.example',
  label: 'free #7',
} as const

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
  collection: TENANT.group,
  tenant: TENANT.storefront,
  group: TENANT.group,
  label: TENANT.label,
  orderID,
})

export const recordOf = async ({ aggregate, pieces }: Offered, nonce?: string) => {
  const { cid } = await blockOf(pieces)
  const id = aggregateId({ aggregate: `${aggregate}`, piecesCid: `${cid}`, nonce })
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
