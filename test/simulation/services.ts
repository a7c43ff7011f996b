import type { DID, Receipt, Signer } from '@ucanto/interface'
import { createAggregator, sealOrder } from '@w3filecoin/aggregator'
import { resources as aggregatorResources } from '@w3filecoin/aggregator/resources'
import { queueFunction } from '@w3filecoin/aws'
import { activeReplicas, createDealTracker } from '@w3filecoin/deal-tracker'
import { resources as dealTrackerResources } from '@w3filecoin/deal-tracker/resources'
import { createDealer, type OfferDocument } from '@w3filecoin/dealer'
import { resources as dealerResources } from '@w3filecoin/dealer/resources'
import { indexEntries } from '@w3filecoin/piece'
import {
  Authority,
  type Fetch,
  type Log,
  Peer,
  ReceiptLog,
  type ReceiptRecord,
  type Service,
} from '@w3filecoin/runtime'
import type { Resources } from '@w3filecoin/runtime/resources'
import { createStorefront } from '@w3filecoin/storefront'
import { resources as storefrontResources } from '@w3filecoin/storefront/resources'
import {
  DeterministicBlocks,
  DeterministicQueue,
  DeterministicTable,
  type DeterministicWorld,
} from '@w3filecoin/testing/deterministic'
import { Clockwork } from './clockwork.ts'
import { network } from './network.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** How the services are set up; what people would configure for weeks is here hours. */
export const SETTINGS = {
  timing: { retry: 10 * MINUTE, poll: 12 * HOUR },
  /** How much rarer schedules run than on AWS: a week of minutes has too many sweeps. */
  pace: 60,
  /** Of the storefront: for content. Of the dealer: for a deal. */
  contentWait: 7 * DAY,
  dealWait: 5 * DAY,
  /** So late that nothing may rest on it. */
  safetyCheck: 365 * DAY,
  defaultGroup: 'did:web:default.test',
  /** Little of everything at a time: three pieces are two ranges, and several pages. */
  sizes: { range: 2, page: 1, lookahead: 2 },
  limits: { size: 2 ** 15, minimumFill: 0, maxPieces: 3, longestWait: 6 * HOUR },
}

/** A service of the real code, on the stores and queues of the deterministic world. */
export interface Simulated {
  name: string
  url: string
  id: Signer
  resources: Resources
  service: Service
  tables: Record<string, DeterministicTable<never>>
  queues: Record<string, DeterministicQueue<never>>
  blocks: DeterministicBlocks
}

export interface Options {
  world: DeterministicWorld
  signers: Record<string, Signer>
  storefronts: readonly string[]
  /** What the storefronts read. */
  content: Content
  /** Takes what the dealer hands to deal making. */
  market: { offer(name: string, document: OfferDocument): void }
  /** The file of active replicas. */
  chain: () => string
  /** Told of every write. */
  onWrite: (service: string, table: string, item: Record<string, unknown>) => void
  /** Whether a service can not be reached now, and how that shows. */
  away: (service: string) => 'refuses' | 'hangs' | undefined
  /** Told of every receipt that a service answers with. */
  onAnswer: (service: string, receipt: Receipt) => void
  /** How long indexes lag, and how often a message comes twice. */
  lag: number
  duplicates: number
  log: Log
}

export interface Content {
  has(content: string): Promise<boolean>
  open(content: string): Promise<AsyncIterable<Uint8Array> | undefined>
}

export interface System {
  services: ReadonlyMap<string, Simulated>
  /** HTTP to the services. */
  fetch: Fetch
  /** Has the deal tracker look at the chain. */
  chainChanged(): void
}

export const createSystem = (options: Options): System => {
  const { world, signers, storefronts, content, market, chain, onWrite, lag, duplicates, log } = options
  const services = new Map<string, Simulated>()
  const find = (origin: string) => [...services.values()].find(({ url }) => url === origin)
  const fetch = network(world, { ...options, find })
  const signer = (name: string) => signers[name] as Signer
  const did = (name: string) => signer(name).did() as DID
  const urlOf = (name: string) => `https://${name}.test`

  /** What every service is given. */
  const parts = <R extends Resources>(name: string, resources: R) => {
    const tables: Simulated['tables'] = {}
    const queues: Simulated['queues'] = {}
    const clockwork = new Clockwork(world, () => Object.values(tables))
    for (const [table, spec] of Object.entries(resources.tables))
      tables[table] = new DeterministicTable<never>({
        name: `${name}.${table}`,
        spec,
        world,
        lag,
        onWrite: item => {
          clockwork.noteCheck(item.checkAt as number | undefined)
          onWrite(name, table, item)
        },
      })
    for (const [queue, spec] of Object.entries(resources.queues))
      queues[queue] = new DeterministicQueue<never>({
        name: `${name}.${queue}`,
        spec,
        world,
        duplicates,
        fifo: spec.fifo ? (sealOrder as never) : undefined,
      })
    const blocks = new DeterministicBlocks({ name: `${name}.blocks`, world })
    const authority = new Authority([], {
      revocations: { table: tables.revocation as never, now: world.now },
    })
    const receipts = new ReceiptLog({
      table: tables.receipt as never as DeterministicTable<ReceiptRecord>,
      blocks,
      now: world.now,
    })
    const common = {
      id: signer(name),
      authority,
      now: world.now,
      random: world.nonce,
      log: ((level, event, fields) => log(level, event, { service: name, ...fields })) as Log,
    }
    const peer = (to: string) => new Peer({ did: did(to), url: urlOf(to) }, { authority, fetch })
    const table = (of: keyof R['tables'] & string) => tables[of] as never
    const queue = (of: keyof R['queues'] & string) => queues[of] as never
    /** Has events reach the service. */
    const connect = (service: Service): Clockwork => {
      for (const [queue, consumer] of Object.entries(service.consumers))
        queues[queue]!.consume(queueFunction(consumer, common.log))
      for (const [schedule, { everySeconds, run }] of Object.entries(resources.schedules))
        clockwork.start(
          `${name}.${schedule}`,
          everySeconds * SETTINGS.pace,
          run.timeout,
          service.schedules[schedule]!,
        )
      services.set(name, {
        name,
        url: urlOf(name),
        id: common.id,
        resources,
        service,
        tables,
        queues,
        blocks,
      })
      return clockwork
    }
    return { common, receipts, blocks, table, queue, peer, connect }
  }

  for (const name of storefronts) {
    const { common, receipts, blocks, table, queue, peer, connect } = parts(name, storefrontResources)
    connect(
      createStorefront({
        ...common,
        stores: {
          pieces: table('piece'),
          aggregates: table('aggregate'),
          spaces: table('space'),
          receipts,
          blocks,
        },
        queues: { submit: queue('submit'), pieceOffer: queue('pieceOffer'), accept: queue('accept') },
        content,
        aggregator: peer('aggregator'),
        dealer: did('dealer'),
        dealTracker: peer('tracker'),
        defaultGroup: SETTINGS.defaultGroup,
        missingContent: 'wait',
        timing: { ...SETTINGS.timing, longestWait: SETTINGS.contentWait, safetyCheck: SETTINGS.safetyCheck },
        sizes: SETTINGS.sizes,
      }),
    )
  }
  {
    const { common, receipts, blocks, table, queue, peer, connect } = parts('aggregator', aggregatorResources)
    const { limits } = SETTINGS
    connect(
      createAggregator({
        ...common,
        stores: {
          pieces: table('piece'),
          pending: table('pending'),
          groups: table('group'),
          tallies: table('tally'),
          aggregates: table('aggregate'),
          members: table('member'),
          receipts,
          blocks,
        },
        queues: {
          piece: queue('piece'),
          seal: queue('seal'),
          include: queue('include'),
          aggregateOffer: queue('aggregateOffer'),
          conclude: queue('conclude'),
        },
        storefronts: new Map(storefronts.map(name => [did(name), peer(name)])),
        dealer: peer('dealer'),
        limitsOf: () => ({ ...limits, maxPieces: Math.min(limits.maxPieces, indexEntries(limits.size)) }),
        timing: SETTINGS.timing,
        sizes: SETTINGS.sizes,
      }),
    )
  }
  {
    const { common, receipts, blocks, table, queue, peer, connect } = parts('dealer', dealerResources)
    connect(
      createDealer({
        ...common,
        stores: {
          aggregates: table('aggregate'),
          receipts,
          blocks,
          offers: {
            put: (name, document) =>
              world.call(
                { port: 'blocks', name: 'dealer.offers', method: 'put' },
                { run: () => market.offer(name, document) },
              ),
          },
        },
        queues: {
          track: queue('track'),
          report: queue('report'),
          retry: queue('retry'),
          conclude: queue('conclude'),
        },
        aggregators: new Map([[did('aggregator'), peer('aggregator')]]),
        dealTracker: peer('tracker'),
        timing: { ...SETTINGS.timing, longestWait: SETTINGS.dealWait },
        sizes: SETTINGS.sizes,
      }),
    )
  }
  const { common, receipts, blocks, table, queue, connect } = parts('tracker', dealTrackerResources)
  const readChain = () =>
    world.call({ port: 'chain', name: 'chain', method: 'read' }, { run: () => new Response(chain()) })
  const clockwork = connect(
    createDealTracker({
      ...common,
      stores: { deals: table('deal'), sources: table('source'), receipts, blocks },
      queues: { update: queue('update') },
      clients: new Set([...storefronts, 'dealer'].map(did)),
      sources: [
        activeReplicas(
          { name: 'chain', kind: 'active-replicas', url: 'https://chain.test/' },
          { fetch: readChain },
        ),
      ],
      limits: { maxAge: 3 * DAY, maxLoss: 0.1 },
      sizes: SETTINGS.sizes,
    }),
  )
  return { services, fetch, chainChanged: () => clockwork.wake() }
}
