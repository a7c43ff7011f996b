import { accessSync, constants, existsSync, mkdirSync, realpathSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import type { AggregatorSettings } from '@w3filecoin/aggregator/config'
import { DIALECTS, VOCABULARIES } from '@w3filecoin/capabilities/vocabulary'
import type { DealTrackerSettings } from '@w3filecoin/deal-tracker/config'
import type { DealerSettings } from '@w3filecoin/dealer/config'
import type { Resources } from '@w3filecoin/runtime/resources'
import { UserError } from '@w3filecoin/runtime/user-error'
import type { StorefrontSettings } from '@w3filecoin/storefront/config'
import type { DealMaking, DealWay } from './deals/deal-making.ts'
import { serveSpoiledPieces } from './deals/spoiled-pieces.ts'
import { type Engines, startEngines } from './engines.ts'
import { type Address, type Identities, type Identity, openIdentities, writePlaces } from './identity.ts'
import { LogFile } from './log-file.ts'
import { openMarket } from './market.ts'
import { makePrivate } from './private-files.ts'
import { placesOf } from './provision.ts'
import type { Wake } from './schedule-source.ts'
import { openServices, type Services } from './services.ts'
import type { TableEngine } from './table-engine.ts'

/** A service of the system: its modules and its configuration. */
export interface ServiceSpec {
  /** Its name in `local.json` and in `Local.services`, e.g. `dealTracker`. */
  role: string
  /** Prefix of its resources' names, e.g. `storefront` for the table `storefront-piece`. */
  name: string
  /** Module specifiers of its resource description and of its functions. */
  resources: string
  functions: string
  /** Returns its configuration, when all addresses are known. */
  config: (world: World) => object
  /** By the name of a schedule: the event after which it also runs, before its interval is over. */
  wakes?: Record<string, Wake>
}

/** The addresses of the system. */
export interface World {
  /** By role. */
  services: Record<string, Address>
  agent: Identity
  /** URL of the S3 engine. */
  s3: string
  /** How deals are made. */
  deals: Pick<DealMaking, 'dealer' | 'sources' | 'aggregateBytes'>
  /** Returns the URL template of the pieces of a storefront, by its role. */
  piecesOf: (role: string) => string
}

export interface LocalOptions {
  /** The data directory; created if it does not exist. */
  data: string
  /** The engine for tables. The default is `sqlite`. */
  engine?: TableEngine
  /**
   * The port of the market, or of the node of the chain. The services listen on the following ports, in order, and S3 on the port after the last service.
   * 0: any free ports.
   */
  port?: number
  /** Roles of additional storefronts. */
  storefronts?: readonly string[]
  /** Changes the configuration of a service. */
  configure?: (role: string, config: Config, world: World) => Config | Promise<Config>
  /** Replaces the four services. */
  services?: readonly ServiceSpec[]
  /** Upper limit of the interval of schedules. */
  everySeconds?: number
  /** The same for schedules that no work waits for, e.g. the checks of a service. */
  unhurriedSeconds?: number
  /** How deals are made. The default is `offers`: by the offer documents. */
  deals?: DealWay
  /** With `offers`, a deal is made this long after the offer. */
  dealDelayMs?: number
  /** CIDs of pieces that storage providers reject, or whose bytes are wrong: an aggregate with one of them gets no deal. */
  faulty?: readonly string[]
  logLevel?: 'debug' | 'info' | 'warn' | 'error'
  /** The directory of the web page, which storefronts serve. Its files are read when a browser asks for them. */
  page?: string | undefined
  /** Called when a part of the system ends before `stop`. The default throws, as an uncaught exception. */
  onCrash?: (error: Error) => void
}

/** The settings of any service, see docs/configuration.md. */
// biome-ignore lint/suspicious/noExplicitAny: the configurations of the services differ
export type Config = Record<string, any>

export interface Local {
  services: Record<string, Address>
  agent: Identity
  /** Addresses of the engines, and environment variables that point the AWS SDK at them. */
  engines: Pick<Engines, 's3' | 'sqs' | 'env'>
  market: Pick<DealMaking, 'url' | 'rpc' | 'verifier' | 'network' | 'die'>
  stop(): Promise<void>
}

/** A failed message is delivered again after 1, 1, 4 and 13 seconds. On AWS it takes minutes. */
const REDELIVERY_SECONDS = 0.2

/** Seconds until unfinished work is retried. With shorter times, many large files would be restarted again and again. */
const TIMING = { retrySeconds: 10, pollSeconds: 10, redeliverySeconds: REDELIVERY_SECONDS }

/** A piece waits this long for other pieces of its aggregate. */
const SEAL_WAIT_SECONDS = 1
/** The event of a change on chain. */
const DEAL = 'market'
/** The dealer may ask about an aggregate this long after its offer. It does so when the deal tracker has new deals. */
const DEAL_POLL_SECONDS = 0.1

/** An offer waits this long for its content, which is uploaded from the same machine. On AWS it waits for seven days. */
const CONTENT_WAIT_SECONDS = 5 * 60

/** Bytes that may be uploaded in one day: more than this machine can store. */
const MAX_UPLOADED_BYTES = 2 ** 50

const storefront = (role: string): ServiceSpec => ({
  role,
  name: kebab(role),
  resources: '@w3filecoin/storefront/resources',
  functions: '@w3filecoin/storefront/functions',
  config: ({ services, s3 }): StorefrontSettings => ({
    // Agents on this machine name addresses of this machine for receipts.
    didWeb: { allowPrivate: true },
    upload: `${s3}/${kebab(role)}-content/{cid}`,
    uploads: 'open',
    // All uploads are on this machine, and no space is listed.
    uploadBytesPerDay: { shared: MAX_UPLOADED_BYTES },
    dialects: [...DIALECTS],
    aggregator: { ...peer(services.aggregator), speaks: [...VOCABULARIES] },
    dealer: peer(services.dealer),
    dealTracker: peer(services.dealTracker),
    defaultGroup: 'local',
    contentWaitSeconds: CONTENT_WAIT_SECONDS,
    timing: TIMING,
  }),
})

/** The four services with their configuration for one machine, and one more for each role of an additional storefront. */
export const fourServices = (storefronts: readonly string[] = []): ServiceSpec[] => [
  storefront('storefront'),
  {
    role: 'aggregator',
    name: 'aggregator',
    resources: '@w3filecoin/aggregator/resources',
    functions: '@w3filecoin/aggregator/functions',
    config: ({ services, deals }): AggregatorSettings => ({
      dialects: [...DIALECTS],
      storefronts: ['storefront', ...storefronts].map(role => peer(services[role])),
      dealer: peer(services.dealer),
      // Aggregates have the size that storage providers accept, but they need not be full, and do not wait for long.
      limits: {
        minPaddedBytes: 0,
        maxWaitSeconds: SEAL_WAIT_SECONDS,
        ...(deals.aggregateBytes !== undefined && { paddedBytes: deals.aggregateBytes }),
      },
      timing: TIMING,
    }),
    wakes: { sweep: { after: 'aggregator-api', seconds: SEAL_WAIT_SECONDS } },
  },
  {
    role: 'dealer',
    name: 'dealer',
    resources: '@w3filecoin/dealer/resources',
    functions: '@w3filecoin/dealer/functions',
    config: ({ services, deals, piecesOf }): DealerSettings => ({
      // Storefronts are on this machine.
      didWeb: { allowPrivate: true },
      dialects: [...DIALECTS],
      aggregators: [{ ...peer(services.aggregator), tenants: 'all' }],
      dealTracker: peer(services.dealTracker),
      pieceSources: ['storefront', ...storefronts].map(role => ({
        storefront: services[role]!.did,
        url: piecesOf(role),
      })),
      ...deals.dealer,
      door: services.dealer!.url,
      timing: { ...TIMING, pollSeconds: DEAL_POLL_SECONDS },
    }),
    wakes: { sweep: { after: ['deal-tracker-update', DEAL], seconds: 0 } },
  },
  {
    role: 'dealTracker',
    name: 'deal-tracker',
    resources: '@w3filecoin/deal-tracker/resources',
    functions: '@w3filecoin/deal-tracker/functions',
    config: ({ services, agent, deals }): DealTrackerSettings => ({
      dialects: [...DIALECTS],
      // The agent verifies deals with the deal tracker.
      clients: [
        ...['storefront', ...storefronts, 'aggregator', 'dealer'].map(role => peer(services[role])),
        { did: agent.did },
      ],
      sources: [...deals.sources!],
      timing: { redeliverySeconds: REDELIVERY_SECONDS },
    }),
    wakes: { sync: { after: DEAL, seconds: 0 } },
  },
  ...storefronts.map(storefront),
]

const peer = (address: Address | undefined) => ({ did: address!.did, url: address!.url })

const kebab = (role: string) => role.replaceAll(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)

/** Creates the directory if it does not exist, makes its contents private, and returns its real path. */
const prepareDirectory = (data: string): string => {
  try {
    createDirectory(resolve(data))
    accessSync(data, constants.W_OK)
    const directory = realpathSync(data)
    // `accessSync` allows root everything, also where the file system takes no directories.
    createDirectory(join(directory, 'logs'))
    makePrivate(directory)
    return directory
  } catch (cause) {
    throw new UserError(
      `Cannot write to the data directory ${data}: ${(cause as Error).message}. Pass another one with --data.`,
    )
  }
}

/** Node has `node:sqlite` from version 22.13 without a flag. This code needs more of Node 24, e.g. `AsyncDisposableStack`. */
const requireSqlite = (): void => {
  if (process.getBuiltinModule('node:sqlite') === undefined)
    throw new UserError(
      `The system on this machine needs node:sqlite, which Node ${process.version} at ${process.execPath} does not have. Use Node 24 or later from https://nodejs.org, without --no-experimental-sqlite.`,
    )
}

/**
 * Creates a directory and its missing parents. (`mkdirSync` with `recursive` never returns below `/proc`, where a parent
 * exists and `mkdir` fails with ENOENT.)
 */
const createDirectory = (path: string): void => {
  if (existsSync(path)) return
  createDirectory(dirname(path))
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (cause) {
    // Another process may have created it meanwhile.
    if (!existsSync(path)) throw cause
  }
}

/** How the stand-ins of each way are opened. Their libraries are loaded only if they are used. */
const OPEN_DEALS: Record<DealWay, (options: { port: number; log: LogFile }) => Promise<DealMaking>> = {
  pdp: async options => (await import('./deals/pdp-deals.ts')).openPdpDeals(options),
  curio: async options => (await import('./deals/curio-deals.ts')).openCurioDeals(options),
  offers: openMarket,
}

/** Starts the whole system. Resolves when every service answers. */
export const startLocal = async ({
  data,
  engine = 'sqlite',
  port = 0,
  storefronts = [],
  configure = (_, config) => config,
  services: specs = fourServices(storefronts),
  everySeconds = 2,
  unhurriedSeconds = Number.POSITIVE_INFINITY,
  deals: way = 'offers',
  dealDelayMs = 300,
  faulty = [],
  logLevel = 'info',
  page = '',
  onCrash = error => {
    throw error
  },
}: LocalOptions): Promise<Local> => {
  requireSqlite()
  const directory = prepareDirectory(data)
  /** Stops the started parts in reverse order. */
  await using running = new AsyncDisposableStack()
  const portOf = (n: number) => (port === 0 ? 0 : port + n)
  const openLog = (name: string) => running.adopt(new LogFile(directory, name), log => log.close())

  let identities: Identities = {}
  const openKeys = async () => {
    identities = await openIdentities(directory, [...specs.map(({ role }) => role), 'agent'])
  }
  const opened = await Promise.allSettled([
    startEngines({
      data: directory,
      tables: engine,
      s3Port: portOf(specs.length + 1),
      log: openLog('engines'),
      whenLocked: openKeys,
      onCrash,
    }),
    OPEN_DEALS[way]({ port: portOf(0), log: openLog('market') }),
    openServices({ ports: specs.map((_, n) => portOf(n + 1)), log: openLog('services'), onCrash }),
  ] as const)
  const [engines, deals, services] = opened.map(part =>
    part.status === 'fulfilled' ? part.value : undefined,
  ) as [Engines, DealMaking, Services]
  running.defer(async () => engines?.stop())
  // Stop these together, because each depends on the other.
  running.defer(async () => {
    await Promise.all([deals, services].map(part => part?.stop()))
  })
  for (const part of opened) if (part.status === 'rejected') throw part.reason

  const addresses = new Map(specs.map(({ role }, n) => [role, services.urls[n]!]))
  // The market rejects pieces itself; a dealer that orders copies rejects wrong bytes.
  const spoiled =
    way !== 'offers' && faulty.length > 0 ? await serveSpoiledPieces(faulty, addresses) : undefined
  running.defer(async () => spoiled?.stop())

  const identityOf = (role: string) => identities[role] as Identity
  const world: World = {
    services: Object.fromEntries(
      specs.map(({ role }, n) => {
        const { did, key } = identityOf(role)
        return [role, { url: services.urls[n]!, did, key }]
      }),
    ),
    agent: identityOf('agent'),
    s3: engines.s3,
    deals,
    piecesOf: role =>
      `${spoiled ? `${spoiled.url}/${role}` : `${addresses.get(role)}/piece`}/{permit}/{piece}`,
  }
  const resources = await Promise.all(
    specs.map(async ({ name, resources }) => {
      const description = (await import(resources)) as { resources: Resources }
      return [name, placesOf({ ...description, service: name, sqs: engines.sqs })] as const
    }),
  )
  writePlaces(directory, {
    services: Object.fromEntries(
      Object.entries(world.services).map(([role, { url, did }]) => [role, { url, did }]),
    ),
    agent: { did: world.agent.did },
    content: { url: `${engines.s3}/storefront-content/{cid}` },
    engines: engines.env,
    resources: Object.fromEntries(resources),
  })

  await Promise.all([
    deals.start({
      engines,
      data: directory,
      dealDelayMs,
      faulty,
      storefronts: new Map(Object.values(world.services).map(({ did, url }) => [did, url])),
      ...(identities.dealer && { dealerKey: identities.dealer.key }),
      onDeal: () => services.notify(DEAL),
    }),
    services.start({
      everySeconds,
      unhurriedSeconds,
      env: engines.env,
      services: await Promise.all(
        specs.map(async ({ role, name, resources, functions, config, wakes }) => ({
          name,
          resources,
          functions,
          wakes,
          env: {
            SERVICE_KEY: world.services[role]!.key,
            CONFIG: JSON.stringify(await configure(role, config(world), world)),
            LOG_LEVEL: logLevel,
            PAGE: page,
          },
        })),
      ),
    }),
  ])
  const started = running.move()
  return {
    services: world.services,
    agent: world.agent,
    engines,
    market: deals,
    stop: () => started.disposeAsync(),
  }
}
