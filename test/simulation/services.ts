import type { DID, Receipt, Signer } from '@ucanto/interface'
import * as aggregatorFormats from '@w3filecoin/aggregator'
import { createAggregator } from '@w3filecoin/aggregator'
import { resources as aggregatorResources } from '@w3filecoin/aggregator/resources'
import { queueFunction } from '@w3filecoin/aws'
import { DIALECTS, PLACE_TYPES, VOCABULARIES, type Vocabulary } from '@w3filecoin/capabilities'
import * as dealTrackerFormats from '@w3filecoin/deal-tracker'
import { createDealTracker, openSource } from '@w3filecoin/deal-tracker'
import { resources as dealTrackerResources } from '@w3filecoin/deal-tracker/resources'
import * as dealerFormats from '@w3filecoin/dealer'
import { createDealer, type OfferDocument } from '@w3filecoin/dealer'
import { resources as dealerResources } from '@w3filecoin/dealer/resources'
import { indexEntries } from '@w3filecoin/piece'
import {
  Authority,
  type Clock,
  type COMMON_FORMATS,
  type Engine,
  type Fetch,
  ListedPeers,
  type Log,
  type MessageFormats,
  type MessageOrder,
  mapPeers,
  openQueues,
  openStores,
  Peer,
  type PeerConfig,
  type PeerLists,
  type PeerRecord,
  type Row,
  type Service,
  type Table,
  type TableFormats,
} from '@w3filecoin/runtime'
import type { QueueSpec, Resources, ScheduleSpec, TableSpec } from '@w3filecoin/runtime/resources'
import * as storefrontFormats from '@w3filecoin/storefront'
import { createStorefront } from '@w3filecoin/storefront'
import { resources as storefrontResources } from '@w3filecoin/storefront/resources'
import { Grants } from '@w3filecoin/testing'
import {
  DeterministicBlocks,
  DeterministicQueue,
  DeterministicTable,
  type DeterministicWorld,
} from '@w3filecoin/testing/deterministic'
import type * as z from 'zod'
import { Clockwork } from './clockwork.ts'
import type { ContentStore } from './content-store.ts'
import { network } from './network.ts'
import type { Providers } from './providers.ts'
import { DELEGATING, delegations } from './scenario.ts'
import { SimulatedWholes } from './whole-objects.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** The configuration of the services. Times that would be weeks are hours here. */
export const SETTINGS = {
  timing: { retryMs: 10 * MINUTE, pollMs: 12 * HOUR },
  /** Factor on the period of schedules: one sweep per minute would be too many in a simulated week. */
  pace: 60,
  /** Maximum time that the storefront waits for content, and the dealer for a deal. */
  contentWaitMs: 7 * DAY,
  dealWaitMs: 5 * DAY,
  defaultGroup: 'did:web:default.test',
  /** More than the agents of any course offer in a day, and fewer than a flood of nonces. */
  admission: {
    spaces: 'open' as const,
    offersPerDay: { listed: 1_000, shared: 1_000 },
    noncesPerDay: { listed: 1_000, shared: 10 },
  },
  /** More than a storefront offers in a day, so that the aggregators count pieces. */
  piecesPerDay: 10_000,
  uploads: {
    spaces: 'open' as const,
    maxBytes: 2 ** 20,
    perDay: { listed: 10, shared: 10 },
    bytesPerDay: { listed: 2 ** 20, shared: 2 ** 20 },
  },
  /** Small batches: three pieces are two ranges, and several pages. */
  batching: {
    rangePieces: 2,
    rangeDeals: 2,
    pageRecords: 1,
    pageRows: 1,
    lookaheadRows: 2,
    partBytes: 127 * 2 ** 6,
  },
  /** Most receipts are large: they are stored as blocks, and some are served from there. */
  receipts: { maxInlineBytes: 700, maxServedBytes: 4_000, minShared: 2 },
  limits: { paddedBytes: 2 ** 15, maxPieces: 3, maxWaitMs: 6 * HOUR },
}

/** The real code of a service, on the stores and queues of the deterministic world. */
export interface Simulated {
  name: string
  url: string
  id: Signer
  resources: Resources
  service: Service
  tables: Record<string, DeterministicTable<Row>>
  queues: Record<string, DeterministicQueue<never>>
  blocks: DeterministicBlocks
  /** Checks that each function uses only the resources in its `uses`. */
  grants: Grants
}

export interface Options {
  world: DeterministicWorld
  signers: Record<string, Signer>
  /** The aggregator of each storefront. */
  storefronts: ReadonlyMap<string, string>
  aggregators: readonly string[]
  /** Returns the clock of a service. */
  clockOf: (service: string) => Clock
  /** The content that the storefronts read. */
  content: ContentStore
  missingContent: 'wait' | 'refuse'
  /** Receive the receipts that agents want delivered. */
  addresses: { fetch: Fetch }
  /** Minimum size of an aggregate of the default group, in padded bytes. */
  minPaddedBytes: number
  /** Providers that store copies on order, by a policy. Without them, deals are made by the offer documents only. */
  providers?: Providers | undefined
  policy?: dealerFormats.PolicyRule | undefined
  /** Time that the dealer waits for a deal, in milliseconds. */
  dealWaitMs: number
  /** Receives the offer documents of the dealer. */
  market: { offer(name: string, document: OfferDocument): void }
  /** Returns the file of active replicas. */
  chain: () => Response
  /** Called for every write. */
  onWrite: (service: string, table: string, item: Record<string, unknown>) => void
  /** Whether a service is unreachable now: it refuses connections, or does not answer. */
  away: (service: string) => 'refuses' | 'hangs' | undefined
  /** Called for every receipt that a service returns. */
  onAnswer: (service: string, receipt: Receipt) => void
  /** Maximum delay of an index in milliseconds, and the probability that a message is delivered twice. */
  lag: number
  duplicates: number
  log: Log
}

export interface System {
  services: ReadonlyMap<string, Simulated>
  /** The stores and queues of the dealer, as an operator uses them. */
  dealer: { stores: dealerFormats.Stores; queues: dealerFormats.Queues }
  /** The bucket of payloads. */
  wholes: SimulatedWholes
  /** Has the settings of the dealer name where the pieces of all tenants are, also of those that are not storefronts. */
  nameSources(): void
  /** HTTP to the services. */
  fetch: Fetch
  /** Has the deal tracker read the chain. */
  chainChanged(): void
}

export const createSystem = (options: Options): System => {
  const { world, signers, storefronts, aggregators, content, providers } = options
  const { market, chain, onWrite, lag, duplicates } = options
  const services = new Map<string, Simulated>()
  /** While operators list the peers, nothing observes the tables. */
  let starting = true
  const find = (origin: string) => [...services.values()].find(({ url }) => url === origin)
  const fetch = network(world, { ...options, find })
  const signer = (name: string) => signers[name] as Signer
  const did = (name: string) => signer(name).did() as DID
  const urlOf = (name: string) => `https://${name}.test`
  const configOf = (name: string) => ({ did: did(name), url: urlOf(name) })

  /** Opens the resources of a service. */
  const open = <
    R extends Resources,
    T extends TableFormats<R> & typeof COMMON_FORMATS,
    M extends MessageFormats<R>,
  >(
    name: string,
    resources: R,
    formats: { tables: T; messages: M },
  ) => {
    const now = options.clockOf(name)
    const tables: Simulated['tables'] = {}
    const queues: Simulated['queues'] = {}
    const clockwork = new Clockwork(world, () => Object.values(tables))
    const openTable = (table: string) => {
      const opened = new DeterministicTable<Row>({
        name: `${name}.${table}`,
        spec: resources.tables[table] as TableSpec,
        world,
        lag,
        onWrite: item => {
          if (starting) return
          clockwork.noteCheck(item.checkAt as number | undefined)
          onWrite(name, table, item)
        },
      })
      tables[table] = opened
      return opened
    }
    const openQueue = <M>(queue: string, order?: MessageOrder<M>) => {
      const spec = resources.queues[queue] as QueueSpec
      const opened = new DeterministicQueue<M>({ name: `${name}.${queue}`, spec, world, duplicates, order })
      queues[queue] = opened as never
      return opened
    }
    const blocks = new DeterministicBlocks({ name: `${name}.blocks`, world })
    const grants = new Grants(resources)
    const engine = grants.engine({
      table: openTable as Engine['table'],
      queue: openQueue,
      blocks: () => blocks,
    })
    const log: Log = (level, event, fields) => options.log(level, event, { service: name, ...fields })
    const stores = openStores(engine, formats.tables, { now, limits: SETTINGS.receipts, log })
    const authority = new Authority({ revocations: { table: stores.revocation, now } })
    const common = {
      id: signer(name),
      authority,
      dialects: DIALECTS,
      stores,
      queues: openQueues(engine, formats.messages),
      timing: SETTINGS.timing,
      batching: SETTINGS.batching,
      now,
      random: world.nonce,
      log,
      metrics: () => {},
    }
    /** Lists peers in the table, as the command of an operator does, and finds them there. */
    const listPeers = <L extends PeerLists>(
      lists: L,
      rows: { [N in keyof L]: z.input<L[N]>[] },
    ): ListedPeers<L> => {
      for (const list of Object.keys(rows))
        for (const row of rows[list] as PeerConfig[])
          tables.peer!.seed({ ...row, list, addedAt: now(), v: 1, revision: 1 } as never)
      const { peer: table } = stores as unknown as { peer: Table<PeerRecord> }
      const configured = Object.fromEntries(Object.keys(lists).map(list => [list, []])) as never
      // No cache: on AWS each function has a separate one, and so reads the table itself.
      const limits = { milliseconds: 0, entries: 1 }
      return new ListedPeers({ lists, configured, table, now, log, limits })
    }
    const openPeer = (config: PeerConfig) => new Peer(config, { authority, fetch })
    const peer = (to: string, speaks?: readonly Vocabulary[]) => openPeer({ ...configOf(to), speaks })
    /** The tools of its checks. */
    const checking = {
      id: common.id,
      fetch,
      now,
      didWeb: { fetch, allowPrivate: false },
      peer: openPeer,
      random: world.nonce,
    }
    /** Connects the service to its queues and schedules. */
    const connect = (bare: Service): Clockwork => {
      const service = grants.host(bare)
      for (const [queue, consumer] of Object.entries(service.consumers))
        queues[queue]!.consume(queueFunction(consumer, common.log))
      for (const [schedule, { everySeconds, unhurried, run }] of Object.entries<ScheduleSpec>(
        resources.schedules,
      )) {
        // No work waits for the checks. The tour runs them.
        if (unhurried) continue
        clockwork.start(
          `${name}.${schedule}`,
          everySeconds * SETTINGS.pace,
          run.timeout,
          service.schedules[schedule]!,
        )
      }
      services.set(name, {
        name,
        url: urlOf(name),
        id: common.id,
        resources,
        service,
        tables,
        queues,
        blocks,
        grants,
      })
      return clockwork
    }
    return { common, openPeer, peer, listPeers, checking, grants, connect }
  }

  for (const [name, aggregator] of storefronts) {
    const { common, peer, checking, grants, connect } = open(name, storefrontResources, storefrontFormats)
    const contentSource = {
      has: async (cid: string) => {
        grants.touch('buckets', 'content', 'read')
        return content.has(cid)
      },
      open: async (cid: string) => {
        grants.touch('buckets', 'content', 'read')
        const bytes = await content.open(cid)
        return (
          bytes &&
          Object.assign(bytes, {
            keep: async () => {
              grants.touch('buckets', 'uploads', 'read')
              grants.touch('buckets', 'content', 'write')
            },
          })
        )
      },
      locate: async (cid: string) => cid,
    }
    const uploads = {
      ...SETTINGS.uploads,
      store: {
        find: async (cid: string) => {
          grants.touch('buckets', 'content', 'read')
          grants.touch('buckets', 'uploads', 'read')
          return (await content.has(cid)) ? cid : undefined
        },
        presign: async (cid: string) => {
          grants.touch('buckets', 'uploads', 'write')
          return { url: cid, headers: {}, expires: 0 }
        },
      },
    }
    connect(
      createStorefront({
        ...common,
        content: contentSource,
        uploads,
        checks: storefrontFormats.storefrontChecks({
          ...checking,
          content: contentSource,
          config: {
            aggregator: { ...configOf(aggregator), speaks: [...VOCABULARIES] },
            dealer: configOf('dealer'),
            dealTracker: { ...configOf('tracker'), speaks: ['protocol'] },
            defaultGroup: SETTINGS.defaultGroup,
            gateway: undefined,
          },
        }),
        addresses: { allowPrivate: false, fetch: options.addresses.fetch },
        pieceAccess: 'off',
        aggregator: peer(aggregator, VOCABULARIES),
        dealer: did('dealer'),
        dealTracker: peer('tracker'),
        placeTypes: PLACE_TYPES,
        defaultGroup: SETTINGS.defaultGroup,
        missingContent: options.missingContent,
        admission: SETTINGS.admission,
        timing: {
          ...SETTINGS.timing,
          contentWaitMs: SETTINGS.contentWaitMs,
        },
      }),
    )
  }
  for (const name of aggregators) {
    const opened = open(name, aggregatorResources, aggregatorFormats)
    const { common, openPeer, peer, listPeers, checking, connect } = opened
    const { limits, defaultGroup } = SETTINGS
    const served = [...storefronts].flatMap(([storefront, aggregator]) =>
      aggregator === name ? [storefront] : [],
    )
    const listed = listPeers(aggregatorFormats.peerLists, {
      storefronts: served.map(name => ({ ...configOf(name), piecesPerDay: SETTINGS.piecesPerDay })),
    }).in('storefronts')
    const given = delegations.get(name) ?? new Map()
    connect(
      createAggregator({
        ...common,
        storefronts: mapPeers(listed, openPeer),
        bounds: listed,
        delegationOf: aggregatorFormats.delegationsOf(given, listed),
        checks: aggregatorFormats.aggregatorChecks({
          ...checking,
          delegations: given,
          config: {
            storefronts: served.map(configOf),
            dealer: { ...configOf('dealer'), speaks: ['protocol'] },
          },
        }),
        dealer: peer('dealer'),
        limitsOf: group => ({
          ...limits,
          minPaddedBytes: group === defaultGroup ? options.minPaddedBytes : 0,
          maxPieces: Math.min(limits.maxPieces, indexEntries(limits.paddedBytes)),
        }),
      }),
    )
  }
  const opened = open('dealer', dealerResources, dealerFormats)
  const dealer = { stores: opened.common.stores, queues: opened.common.queues }
  const pieceSources = new Map<string, string>()
  if (providers) for (const name of storefronts.keys()) pieceSources.set(did(name), pieceSource(urlOf(name)))
  const wholes = new SimulatedWholes({
    name: 'dealer.wholes',
    world,
    touch: access => opened.grants.touch('buckets', 'wholes', access),
  })
  {
    const { common, openPeer, peer, listPeers, checking, grants, connect } = opened
    const listed = listPeers(dealerFormats.peerLists, {
      aggregators: aggregators.map(name => ({
        ...configOf(name),
        tenants: [...storefronts.keys()].filter(name => name !== DELEGATING).map(did),
      })),
      storefronts: [{ did: did(DELEGATING) }],
      brokers: aggregators.map(name => ({ did: did(name) })),
    })
    connect(
      createDealer({
        ...common,
        pieceSources,
        policies: options.policy ? [options.policy] : dealerFormats.policiesOf({ policies: [] }),
        targets: providers?.targets ?? [],
        wholes,
        door: urlOf('dealer'),
        keepWholeMs: DAY,
        fetchContent: providers?.fetchContent ?? fetch,
        checks: dealerFormats.dealerChecks({
          ...checking,
          targets: [],
          door: undefined,
          stores: common.stores,
          config: {
            aggregators: aggregators.map(name => ({ ...configOf(name), tenants: 'all' })),
            storefronts: [],
            pieceSources: [],
            dealTracker: { ...configOf('tracker'), speaks: ['protocol'] },
          },
        }),
        offerDocuments: {
          put: (name, document) => {
            grants.touch('buckets', 'offers', 'write')
            return world.call(
              { port: 'blocks', name: 'dealer.offers', method: 'put' },
              { run: () => market.offer(name, document) },
            )
          },
        },
        aggregators: mapPeers(listed.in('aggregators'), openPeer),
        allowedTenants: listed.in('aggregators'),
        storefronts: listed.in('storefronts'),
        brokers: listed.in('brokers'),
        dealTracker: peer('tracker'),
        timing: { ...SETTINGS.timing, dealWaitMs: options.dealWaitMs, liveMs: DAY },
      }),
    )
  }
  const { common, listPeers, checking, connect } = open('tracker', dealTrackerResources, dealTrackerFormats)
  const listed = listPeers(dealTrackerFormats.peerLists, {
    clients: [...storefronts.keys(), ...aggregators, 'dealer'].map(name => ({ did: did(name) })),
  })
  const readChain = () => world.call({ port: 'chain', name: 'chain', method: 'read' }, { run: chain })
  const clockwork = connect(
    createDealTracker({
      ...common,
      checks: dealTrackerFormats.dealTrackerChecks({
        ...checking,
        stores: common.stores,
        config: {
          clients: [...storefronts.keys()].map(configOf),
          sources: [{ name: 'chain', kind: 'active-replicas', url: 'https://chain.test/' }],
          maxAgeSeconds: (3 * DAY) / SECOND,
        },
      }),
      clients: listed.in('clients'),
      sources: [
        {
          ...openSource(
            { name: 'chain', kind: 'active-replicas', url: 'https://chain.test/' },
            { fetch: readChain },
          ),
          // It knows all deals. So reports change nothing but the table `watch`.
          searchesReported: true,
        },
        ...(providers?.sources ?? []),
      ],
      limits: { maxAgeMs: 3 * DAY, maxLossShare: 0.1 },
    }),
  )
  starting = false
  return {
    services,
    dealer,
    wholes,
    nameSources: () => {
      for (const name of aggregators) pieceSources.set(did(name), pieceSource(urlOf(name)))
    },
    fetch,
    chainChanged: () => clockwork.wake(),
  }
}

/** Returns the template of the addresses of the pieces of a storefront. */
const pieceSource = (url: string): string => `${url}/piece/{permit}/{piece}`
