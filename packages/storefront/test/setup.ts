import { Delegation as Delegations } from '@ucanto/core'
import type { Delegation, Fact, Invocation, Link, Receipt, Signer } from '@ucanto/interface'
import {
  dealInfo,
  type Failure,
  failure,
  filecoinOffer,
  type PieceLink,
  PLACE_TYPES,
  pieceInfo,
  pieceOffer,
  type Task,
  Tasks,
} from '@w3filecoin/capabilities'
import { buildAggregate } from '@w3filecoin/piece'
import { Authority, issueReceipt, openQueues, openStores, Peer, provide } from '@w3filecoin/runtime'
import {
  ask,
  type Content,
  call,
  networkOf,
  type Provided,
  type StandIn,
  signersOf,
  someContent,
  standIn,
  startWorld,
  type World,
} from '@w3filecoin/testing'
import { afterAll, beforeAll, beforeEach } from 'vitest'
import { BATCHING } from '../src/domain/batching.ts'
import { pieceId } from '../src/domain/piece.ts'
import { createStorefront, type Dependencies, messages, tables } from '../src/index.ts'
import { resources } from '../src/resources.ts'

export const { storefront, aggregator, dealer, tracker, agent, space, stranger } = await signersOf(
  'storefront',
  'aggregator',
  'dealer',
  'tracker',
  'agent',
  'space',
  'stranger',
)

let world: World
export let aws: Provided<typeof resources>
export let dependencies: Dependencies
export let service: ReturnType<typeof createStorefront>
export let theAggregator: StandIn
let theTracker: StandIn

export const GROUP = 'did:web:default'
export const clock = { now: 1_700_000_000_000 }
export const timing = {
  retryMs: 60_000,
  pollMs: 900_000,
  contentWaitMs: 24 * 3_600_000,
}
/** More than the tests of one file offer in a day. */
export const ADMISSION: Dependencies['admission'] = {
  spaces: 'open',
  offersPerDay: { listed: 10_000, shared: 10_000 },
  noncesPerDay: { listed: 10_000, shared: 10_000 },
}
/** The content that exists, by CID; each function opens its bytes. */
export const contents = new Map<string, () => AsyncIterable<Uint8Array>>()
/** The `piece/offer` invocations that reached the aggregator. */
export const offers: Invocation[] = []
/** How the aggregator and the deal tracker behave. */
export const state: {
  /** The answer of the aggregator to every `piece/offer`, instead of a promise. */
  refusal?: Failure | undefined
  /** Whether no peer can be reached. */
  down?: boolean
  /** The answer of the deal tracker to every question. */
  deals?: Record<string, object>
  /** More of the answer of the deal tracker. */
  tracked?: object | undefined
  /** The refusal of the deal tracker, instead of an answer. */
  refuse?: Failure | undefined
  /** The number of questions to the deal tracker. */
  asked?: number
  /** The answer of the aggregator to `piece/info`. */
  info?: object | undefined
} = {}
export const DEAL = { provider: 'f01', storageProvider: 'f01', status: 'Active', expiration: '2027-01-01' }

beforeAll(async () => {
  world = await startWorld()
  aws = await world.provide(resources)
  const authority = new Authority()
  const network = networkOf(() => [theAggregator, theTracker])
  theAggregator = await standIn(world, {
    name: 'the-aggregator',
    id: aggregator,
    authority,
    handlers: [
      provide(
        pieceOffer,
        async ({ capability: { nb }, invocation }) => {
          offers.push(invocation)
          if (state.refusal) return { out: { error: state.refusal } }
          const grouped = { piece: nb.piece as PieceLink, group: nb.group, nonce: invocation.nonce }
          return {
            out: { ok: { piece: nb.piece } },
            fx: { join: await Tasks.pieceAccept(aggregator, grouped) },
          }
        },
        { keep: true },
      ),
      provide(pieceInfo, async ({ capability: { nb } }) => ({
        out: state.info
          ? { ok: { piece: nb.piece, ...state.info } }
          : { error: failure('RecordNotFound', `The piece ${nb.piece} was not offered`) },
      })),
    ],
  })
  theTracker = await standIn(world, {
    name: 'the-tracker',
    id: tracker,
    authority,
    handlers: [
      provide(dealInfo, async () => {
        state.asked = (state.asked ?? 0) + 1
        return {
          out: state.refuse ? { error: state.refuse } : { ok: { deals: state.deals, ...state.tracked } },
        }
      }),
    ],
  })
  const peer = (to: StandIn) =>
    new Peer(to, {
      authority,
      fetch: async (url, init) => {
        if (state.down) throw new TypeError('fetch failed')
        return network(url, init)
      },
    })
  dependencies = {
    id: storefront,
    stores: openStores(aws, tables, { now: () => clock.now }),
    queues: openQueues(aws, messages),
    content: {
      has: async content => contents.has(content),
      open: async content => contents.get(content)?.(),
      locate: async content => `https://content.test/${content}`,
    },
    addresses: {
      fetch: async url => {
        throw new TypeError(`${url} must not be called`)
      },
      allowPrivate: false,
    },
    pieceAccess: 'permit',
    aggregator: peer(theAggregator),
    dealer: dealer.did(),
    dealTracker: peer(theTracker),
    placeTypes: PLACE_TYPES,
    authority,
    dialects: [],
    defaultGroup: GROUP,
    missingContent: 'wait',
    admission: ADMISSION,
    timing,
    batching: BATCHING,
    now: () => clock.now,
    random: () => crypto.randomUUID(),
    log: () => {},
    metrics: () => {},
    checks: [],
  }
  service = aws.host(createStorefront(dependencies))
})
afterAll(() => world.stop())
beforeEach(async () => {
  for (const queue of ['submit', 'aggregation', 'poll', 'outcome', 'notify'] as const) await aws.drain(queue)
  offers.splice(0)
  Object.assign(state, { refusal: undefined, down: false, deals: { 42: DEAL }, info: undefined })
  Object.assign(state, { tracked: undefined, refuse: undefined, asked: 0 })
})

/** Delegates an ability on a space to an agent. */
export const delegate = (
  from: Signer,
  to: Signer,
  { can = 'filecoin/*', of = from, nb, ...options }: DelegateOptions = {},
): Promise<Delegation> =>
  Delegations.delegate({
    issuer: from,
    audience: to,
    capabilities: [{ can, with: of.did(), ...(nb && { nb }) }],
    expiration: Infinity,
    ...options,
  }) as Promise<never>

interface DelegateOptions {
  can?: '*' | `${string}/${string}`
  /** The space, if `from` is not its owner. */
  of?: Signer
  nb?: object
  proofs?: Delegation[]
  expiration?: number
}

interface OfferOptions {
  issuer?: Signer
  from?: Signer
  nonce?: string
  /** Default: the delegation of the space. */
  proofs?: Delegation[]
  /** Link of a `pdp/accept` task. */
  pdp?: Link
  facts?: Fact[]
}

export const offer = async (
  { content, piece }: Pick<Content, 'content' | 'piece'>,
  { issuer = agent, from = space, nonce, proofs, pdp, facts = [] }: OfferOptions = {},
) =>
  filecoinOffer.invoke({
    issuer,
    audience: storefront,
    with: from.did(),
    nb: { content: content as never, piece, ...(pdp && { PDP: pdp as never }) },
    proofs: proofs ?? [await delegate(from, issuer)],
    expiration: Infinity,
    facts,
    ...(nonce === undefined ? {} : { nonce }),
  })

/** @param group set if a space of another group offered the content first */
export const recordOf = (
  { content, piece }: Pick<Content, 'content' | 'piece'>,
  nonce?: string,
  group?: string,
) =>
  dependencies.stores.piece.get({
    id: pieceId({ content: `${content}`, piece: `${piece}`, nonce }, group),
  })
export const errorOf = ({ out }: Receipt) => out.error as { name: string; message: string } | undefined
export const settle = () => aws.settle(service.consumers)
export const sweepAfter = async (milliseconds: number) => {
  clock.now += milliseconds
  await service.schedules.sweep!()
  await settle()
}
export const upload = ({ content, bytes }: Content): void => {
  contents.set(`${content}`, async function* () {
    yield bytes
  })
}
/** Creates content that exists. */
export const uploadContent = async (seed: string, length?: number): Promise<Content> => {
  const content = await someContent(seed, length)
  upload(content)
  return content
}

/** The dealer's receipt of `aggregate/offer`, by the `aggregate/accept` that it promises. */
const promises = new Map<string, Receipt>()

/** Builds an aggregate of these pieces, and the receipts that the aggregator and the dealer issue about it. */
export const aggregateOf = async (pieces: readonly PieceLink[], nonce?: string) => {
  const built = buildAggregate({ pieces: [...pieces], size: 2 ** 24 }).ok!
  const { link } = built
  const order = built.pieces.map(piece => `${piece}`)
  const list = (await someContent(`list ${pieces}`)).content as never
  const tenant = { storefront: storefront.did(), group: GROUP, label: 'x' }
  const aggregateOffer = await Tasks.aggregateOffer(aggregator, dealer, {
    aggregate: link,
    pieces: list,
    nonce,
    tenant,
  })
  const aggregateAccept = await Tasks.aggregateAccept(dealer, { aggregate: link, pieces: list, nonce })
  const promise = await issueReceipt(dealer, aggregateOffer, {
    out: { ok: { aggregate: link } },
    fx: { join: aggregateAccept },
  })
  promises.set(`${aggregateAccept.cid}`, promise)
  /** @param attempt the nonce of the `piece/offer`, if the dealer retried the piece */
  const acceptPiece = async (piece: PieceLink, attempt?: string) =>
    issueReceipt(aggregator, await Tasks.pieceAccept(aggregator, { piece, group: GROUP, nonce: attempt }), {
      out: { ok: { piece, aggregate: link, inclusion: built.proof(order.indexOf(`${piece}`)) } },
      fx: { join: aggregateOffer },
    })
  const acceptAggregate = (place: object = { dataType: 0, dataSource: { dealID: 7 } }) =>
    issueReceipt(dealer, aggregateAccept, { out: { ok: { aggregate: link, ...place } } })
  /** The nonce of the `piece/offer` tasks by which the dealer retries pieces. */
  const attempt = Tasks.retryNonce({ aggregate: link, nonce })
  const retry = (piece: PieceLink) =>
    Tasks.pieceOffer(dealer, aggregator, { piece, group: GROUP, nonce: attempt })
  /**
   * The receipt of a failed aggregate, with its invalid and its retried pieces. Pass the `aggregate/offer` as `ran` if the
   * dealer refused the offer.
   */
  const failAggregate = async (
    { invalid = [], retried = [] }: { invalid?: PieceLink[]; retried?: PieceLink[] },
    ran = aggregateAccept,
  ) =>
    issueReceipt(dealer, ran, {
      out: {
        error: failure('InvalidPiece', 'No provider takes it', {
          aggregate: link,
          cause: invalid.map(piece => failure('InvalidPieceCID', 'No provider can read it', { piece })),
        }),
      },
      fx: { fork: await Promise.all(retried.map(retry)) },
    })
  return {
    link,
    aggregateOffer,
    aggregateAccept,
    promise,
    acceptPiece,
    acceptAggregate,
    failAggregate,
    attempt,
    retry,
  }
}
/** Delivers the outcome of an aggregate after the dealer's promise of it, as the aggregator does. */
export const conclude = async (receipt: Receipt, issuer: Signer = aggregator) => {
  const promise = promises.get(`${receipt.ran.link()}`)
  if (promise) await deliver(promise, issuer)
  return deliver(receipt, issuer)
}
/** Delivers one receipt. */
export const deliver = async (receipt: Receipt, issuer: Signer = aggregator) =>
  ask(
    service.api,
    await Tasks.conclude(issuer, storefront, { root: receipt.root, blocks: receipt.iterateIPLDBlocks() }),
  )

/** Offers new pieces, and returns them at stage `queued`. */
export const queuePieces = async <const S extends string[]>(...seeds: S) => {
  const pieces = await Promise.all(seeds.map(seed => uploadContent(seed)))
  const receipts = await call(service.api, ...(await Promise.all(pieces.map(content => offer(content)))))
  await settle()
  const accepted = pieces.map((content, n) => ({
    ...content,
    accept: receipts[n]!.fx.join as unknown as Task,
  }))
  return accepted as { [N in keyof S]: (typeof accepted)[number] }
}
