import { accessSync, constants, mkdirSync, realpathSync } from 'node:fs'
import type { AggregatorSettings } from '@w3filecoin/aggregator/config'
import { DIALECTS, VOCABULARIES } from '@w3filecoin/capabilities/vocabulary'
import type { DealTrackerSettings } from '@w3filecoin/deal-tracker/config'
import type { DealerSettings } from '@w3filecoin/dealer/config'
import type { Resources } from '@w3filecoin/runtime/resources'
import { UserError } from '@w3filecoin/runtime/user-error'
import type { StorefrontSettings } from '@w3filecoin/storefront/config'
import { type Engines, startEngines } from './engines.ts'
import { type Address, type Identities, type Identity, openIdentities, writeIdentities } from './identity.ts'
import { LogFile } from './log-file.ts'
import { type Market, openMarket } from './market.ts'
import { makePrivate } from './private-files.ts'
import { placesOf } from './provision.ts'
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
}

/** The addresses of the system. */
export interface World {
  /** By role. */
  services: Record<string, Address>
  agent: Identity
  /** URL of the S3 engine. */
  s3: string
  /** URL of the file of active replicas, which lists the chain's deals. */
  activeReplicas: string
}

export interface LocalOptions {
  /** The data directory; created if it does not exist. */
  data: string
  /** The engine for tables. The default is `sqlite`. */
  engine?: TableEngine
  /** The market's port. The services listen on the following ports, in order. 0: any free ports. */
  port?: number
  /** Roles of additional storefronts. */
  storefronts?: readonly string[]
  /** Changes the configuration of a service. */
  configure?: (role: string, config: Config, world: World) => Config | Promise<Config>
  /** Replaces the four services. */
  services?: readonly ServiceSpec[]
  /** Upper limit of the interval of schedules. */
  everySeconds?: number
  /** The market makes a deal this long after the offer. */
  dealDelayMs?: number
  /** CIDs of pieces that storage providers reject: an aggregate with one of them gets no deal. */
  faulty?: readonly string[]
  logLevel?: 'debug' | 'info' | 'warn' | 'error'
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
  market: { url: string }
  stop(): Promise<void>
}

/** Seconds until unfinished work is retried. With shorter times, many large files would be restarted again and again. */
const TIMING = { retrySeconds: 10, pollSeconds: 10 }

const storefront = (role: string): ServiceSpec => ({
  role,
  name: kebab(role),
  resources: '@w3filecoin/storefront/resources',
  functions: '@w3filecoin/storefront/functions',
  config: ({ services, s3 }): StorefrontSettings => ({
    upload: `${s3}/${kebab(role)}-content/{cid}`,
    dialects: [...DIALECTS],
    aggregator: { ...peer(services.aggregator), speaks: [...VOCABULARIES] },
    dealer: peer(services.dealer),
    dealTracker: peer(services.dealTracker),
    defaultGroup: 'local',
    timing: TIMING,
  }),
})

/** The four services with their configuration for one machine. */
const fourServices = (storefronts: readonly string[]): ServiceSpec[] => [
  storefront('storefront'),
  {
    role: 'aggregator',
    name: 'aggregator',
    resources: '@w3filecoin/aggregator/resources',
    functions: '@w3filecoin/aggregator/functions',
    config: ({ services }): AggregatorSettings => ({
      dialects: [...DIALECTS],
      storefronts: ['storefront', ...storefronts].map(role => peer(services[role])),
      dealer: peer(services.dealer),
      // Aggregates have the size that storage providers accept, but they need not be full, and do not wait for long.
      limits: { minPaddedBytes: 0, maxWaitSeconds: 3 },
      timing: TIMING,
    }),
  },
  {
    role: 'dealer',
    name: 'dealer',
    resources: '@w3filecoin/dealer/resources',
    functions: '@w3filecoin/dealer/functions',
    config: ({ services }): DealerSettings => ({
      dialects: [...DIALECTS],
      aggregators: [{ ...peer(services.aggregator), tenants: 'all' }],
      dealTracker: peer(services.dealTracker),
      pieceSources: ['storefront', ...storefronts].map(role => ({
        storefront: services[role]!.did,
        url: `${services[role]!.url}/piece/{permit}/{piece}`,
      })),
      // The market makes deals within seconds.
      timing: { ...TIMING, pollSeconds: 1 },
    }),
  },
  {
    role: 'dealTracker',
    name: 'deal-tracker',
    resources: '@w3filecoin/deal-tracker/resources',
    functions: '@w3filecoin/deal-tracker/functions',
    config: ({ services, agent, activeReplicas }): DealTrackerSettings => ({
      dialects: [...DIALECTS],
      // The agent verifies deals with the deal tracker.
      clients: [
        ...['storefront', ...storefronts, 'aggregator', 'dealer'].map(role => peer(services[role])),
        { did: agent.did },
      ],
      sources: [{ name: 'local', kind: 'active-replicas', url: activeReplicas }],
    }),
  },
  ...storefronts.map(storefront),
]

const peer = (address: Address | undefined) => ({ did: address!.did, url: address!.url })

const kebab = (role: string) => role.replaceAll(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)

/** Creates the directory if it does not exist, makes its contents private, and returns its real path. */
const prepareDirectory = (data: string): string => {
  try {
    mkdirSync(data, { recursive: true, mode: 0o700 })
    accessSync(data, constants.W_OK)
    const directory = realpathSync(data)
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

/** Starts the whole system. Resolves when every service answers. */
export const startLocal = async ({
  data,
  engine = 'sqlite',
  port = 0,
  storefronts = [],
  configure = (_, config) => config,
  services: specs = fourServices(storefronts),
  everySeconds = 2,
  dealDelayMs = 1500,
  faulty = [],
  logLevel = 'info',
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
      log: openLog('engines'),
      whenLocked: openKeys,
      onCrash,
    }),
    openMarket({ port: portOf(0), log: openLog('market') }),
    openServices({ ports: specs.map((_, n) => portOf(n + 1)), log: openLog('services'), onCrash }),
  ] as const)
  const [engines, market, services] = opened.map(part =>
    part.status === 'fulfilled' ? part.value : undefined,
  ) as [Engines, Market, Services]
  running.defer(async () => engines?.stop())
  // Stop these together, because each depends on the other.
  running.defer(async () => {
    await Promise.all([market, services].map(part => part?.stop()))
  })
  for (const part of opened) if (part.status === 'rejected') throw part.reason

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
    activeReplicas: market.activeReplicas,
  }
  writeIdentities(
    directory,
    { ...identities, ...world.services, agent: world.agent },
    {
      content: { url: `${engines.s3}/storefront-content/{cid}` },
      engines: engines.env,
      resources: Object.fromEntries(
        await Promise.all(
          specs.map(async ({ name, resources }) => {
            const description = (await import(resources)) as { resources: Resources }
            return [name, placesOf({ ...description, service: name, sqs: engines.sqs })] as const
          }),
        ),
      ),
    },
  )

  await Promise.all([
    market.start({ engines, data: directory, dealDelayMs, faulty }),
    services.start({
      everySeconds,
      env: engines.env,
      services: await Promise.all(
        specs.map(async ({ role, name, resources, functions, config }) => ({
          name,
          resources,
          functions,
          env: {
            SERVICE_KEY: world.services[role]!.key,
            CONFIG: JSON.stringify(await configure(role, config(world), world)),
            LOG_LEVEL: logLevel,
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
    market: { url: market.url },
    stop: () => started.disposeAsync(),
  }
}
