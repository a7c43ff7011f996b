import { decode } from '@ipld/dag-cbor'
import type { Invocation, Receipt, Signer } from '@ucanto/interface'
import {
  aggregateOffer,
  type Failure,
  type PieceAcceptSuccess,
  type PieceLink,
  Tasks,
} from '@w3filecoin/capabilities'
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
  served,
  signersOf,
  somePiece,
  standIn,
  startWorld,
  type World,
} from '@w3filecoin/testing'
import { afterAll, beforeAll, beforeEach } from 'vitest'
import { BATCHING } from '../src/domain/batching.ts'
import type { Limits } from '../src/domain/limits.ts'
import { groupId, pieceId } from '../src/domain/piece.ts'
import { createAggregator, type Dependencies, messages, tables } from '../src/index.ts'
import { resources } from '../src/resources.ts'

export const { aggregator, dealer, one, two, unlisted, stranger } = await signersOf(
  'aggregator',
  'dealer',
  'one',
  'two',
  'unlisted',
  'stranger',
)

let world: World
export let aws: Provided<typeof resources>
export let dependencies: Dependencies
export let service: ReturnType<typeof createAggregator>
export let theDealer: StandIn
let storefronts: StandIn[]

export const clock = { now: 1_700_000_000_000 }
export const timing = { retryMs: 60_000, pollMs: 900_000 }
export const HOUR = 3_600_000
/** An aggregate has the size of two halves. Because of its index, it never contains both. */
export const limits: Limits = { paddedBytes: 2 ** 20, minPaddedBytes: 0, maxPieces: 8, maxWaitMs: HOUR }
export const [HALF, QUARTER, EIGHTH, SMALL] = [14, 13, 12, 4]

/** The offers that reached the dealer, the receipts that reached the storefronts, and how the dealer behaves. */
export const offers: Invocation[] = []
export const delivered: { storefront: string; task: string; receipt: Receipt }[] = []
export const state: { refusal?: Failure | undefined; down?: boolean } = {}

beforeAll(async () => {
  world = await startWorld()
  aws = await world.provide(resources)
  const authority = new Authority()
  theDealer = await standIn(world, {
    name: 'the-dealer',
    id: dealer,
    authority,
    handlers: [
      provide(aggregateOffer, async ({ capability: { nb }, invocation }) => {
        offers.push(invocation)
        if (state.refusal) return { out: { error: state.refusal } }
        const aggregated = { aggregate: nb.aggregate as PieceLink, pieces: nb.pieces as never }
        const join = await Tasks.aggregateAccept(dealer, { ...aggregated, nonce: invocation.nonce })
        return { out: { ok: { aggregate: nb.aggregate } }, fx: { join } }
      }),
    ],
  })
  storefronts = await Promise.all(
    [one, two].map((id, n) =>
      standIn(world, {
        name: `storefront-${n}`,
        id,
        authority,
        handlers: [
          concludeHandler({
            authority,
            senders: { aggregator: aggregator.did() },
            now: () => 0,
            routes: Object.fromEntries(
              ['piece/accept', 'aggregate/accept', 'aggregate/offer'].map(can => [
                can,
                async (receipt: Receipt, ran: Invocation) => {
                  delivered.push({ storefront: id.did(), task: `${ran.cid}`, receipt })
                  return { ok: {} }
                },
              ]),
            ),
          }),
        ],
      }),
    ),
  )
  const network = networkOf(() => [theDealer, ...storefronts])
  const peer = (to: StandIn) =>
    new Peer(to, {
      authority,
      fetch: async (url, init) => {
        if (state.down) throw new TypeError('fetch failed')
        return network(url, init)
      },
    })
  dependencies = {
    id: aggregator,
    stores: openStores(aws, tables, { now: () => clock.now }),
    queues: openQueues(aws, messages),
    storefronts: configuredPeers(storefronts.map(peer)),
    bounds: configuredPeers([]),
    delegationOf: async () => undefined,
    dealer: peer(theDealer),
    authority,
    dialects: [],
    limitsOf: group => ({ ...limits, ...(group.startsWith('minimum') ? { minPaddedBytes: 2 ** 18 } : {}) }),
    timing,
    batching: BATCHING,
    now: () => clock.now,
    log: () => {},
    metrics: (values, dimensions) => measured.push({ ...values, ...dimensions }),
    checks: [],
  }
  service = aws.host(createAggregator(dependencies))
})
afterAll(() => world.stop())
beforeEach(async () => {
  for (const queue of ['piece', 'include', 'deal', 'conclude', 'seal'] as const) await aws.drain(queue)
  offers.splice(0)
  delivered.splice(0)
  Object.assign(state, { refusal: undefined, down: false })
})

/** The receipts of these tasks that reached storefronts. */
export const deliveredOf = (tasks: readonly (string | undefined)[]) =>
  delivered.filter(({ task }) => tasks.includes(task))

let groups = 0
export const freshGroup = (prefix = 'group') => `${prefix}-${groups++}`
export const offer = (
  piece: PieceLink,
  group: string,
  { issuer = one, nonce }: { issuer?: Signer; nonce?: string } = {},
) => Tasks.pieceOffer(issuer, aggregator, { piece, group, nonce })
/** Offers pieces of these heights, each 1 ms after the one before. */
export const offerAll = async (
  heights: number[],
  group: string,
  options: Parameters<typeof offer>[2] = {},
) => {
  const pieces = heights.map((height, n) => somePiece(`${group} ${n}`, height))
  for (const piece of pieces) {
    clock.now += 1
    await ask(service.api, await offer(piece, group, options))
  }
  return pieces
}
export const acceptOf = async (piece: PieceLink, group: string, nonce?: string) =>
  Tasks.pieceAccept(aggregator, { piece, group, nonce })
export const outcomeOf = async (piece: PieceLink, group: string, nonce?: string) => {
  const receipt = await served(service.api, (await acceptOf(piece, group, nonce)).cid)
  return receipt && { receipt, ok: receipt.out.ok as PieceAcceptSuccess }
}
/** The offers of these groups that reached the dealer. Groups of other tests are sealed too. */
export const offersOf = (...of: string[]) =>
  offers.filter(({ facts }) => of.includes((facts[0] as { group: string }).group))
/** The pieces of each offered aggregate, in the order of sealing. */
export const offeredPieces = (...of: string[]) =>
  offersOf(...of).map(invocation => {
    const { pieces } = invocation.capabilities[0]!.nb as { pieces: unknown }
    const block = [...invocation.iterateIPLDBlocks()].find(({ cid }) => `${cid}` === `${pieces}`)
    return (decode(block!.bytes as never) as unknown[]).map(piece => `${piece}`).toSorted()
  })
export const texts = (pieces: readonly PieceLink[]) => pieces.map(piece => `${piece}`).toSorted()
export const recordOf = (piece: PieceLink, group: string, nonce?: string) =>
  dependencies.stores.piece.get({ id: pieceId({ piece: `${piece}`, group, nonce }) })
export const listed = async (group: string, storefront = one) =>
  (await dependencies.stores.pending.list(groupId({ storefront: storefront.did(), group }), { limit: 100 }))
    .items
export const settle = () => aws.settle(service.consumers)
/** The metrics of all runs, with their dimensions. */
export const measured: object[] = []

export const sweepAfter = async (milliseconds: number) => {
  clock.now += milliseconds
  await service.schedules.sweep!()
  await settle()
}
export const errorOf = ({ out }: Receipt) => out.error as Failure | undefined
