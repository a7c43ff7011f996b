import { accessSync, constants, mkdirSync, realpathSync } from 'node:fs'
import type { Resources } from '@w3filecoin/aws/resources'
import { UserError } from '@w3filecoin/service/user-error'
import { type Engines, startEngines } from './engines.ts'
import { type Address, type Identity, newIdentity, readIdentities, writeIdentities } from './identity.ts'
import { LogFile } from './log-file.ts'
import { type Market, openMarket } from './market.ts'
import { placesOf } from './provision.ts'
import { openService, type ServiceThread } from './service.ts'

/** A service of the system: which modules it is made of, and what it is configured with. */
export interface ServiceSpec {
  /** Its name in `local.json` and in the system's addresses. */
  role: string
  /** Its resources are named after it: `storefront-piece`. */
  name: string
  /** Specifiers of the modules that describe its resources and that hold its functions. */
  resources: string
  functions: string
  /** Its configuration, when everybody's address is known. */
  config: (world: World) => object
}

/** Who is where. */
export interface World {
  /** By role. */
  services: Record<string, Address>
  agent: Identity
  /** Where the chain's deals are published. */
  activeReplicas: string
}

export interface LocalOptions {
  /** The data directory; made if it is not there. */
  data: string
  /** The market takes this port, the services those after it, in order. 0: any that are free. */
  port?: number
  /** Storefronts beside the first one, by role. */
  storefronts?: readonly string[]
  /** Changes the configuration of a service. */
  configure?: (role: string, config: Config, world: World) => Config
  /** Services in place of the four. */
  services?: readonly ServiceSpec[]
  /** The most seconds between two runs of a schedule. */
  everySeconds?: number
  /** How long storage providers take to make a deal, in milliseconds. */
  dealDelay?: number
  /** Pieces that storage providers find fault with: an aggregate with one of them gets no deal. */
  faulty?: readonly string[]
  logLevel?: 'debug' | 'info' | 'warn' | 'error'
  /** Told when a part of the system ends without being asked to. Without it, that is an uncaught exception. */
  onCrash?: (error: Error) => void
}

// biome-ignore lint/suspicious/noExplicitAny: each service has a configuration of its own
export type Config = Record<string, any>

export interface Local {
  services: Record<string, Address>
  agent: Identity
  /** Addresses of the engines, and the variables that point the AWS SDK at them. */
  engines: Pick<Engines, 'dynamodb' | 's3' | 'sqs' | 'env'>
  market: { url: string }
  stop(): Promise<void>
}

/** Seconds until what is not done is looked at again. Shorter, and many files would be begun again and again. */
const TIMING = { retry: 10, poll: 10 }

const storefront = (role: string): ServiceSpec => ({
  role,
  name: kebab(role),
  resources: '@w3filecoin/storefront/resources',
  functions: '@w3filecoin/storefront/functions',
  config: ({ services }) => ({
    aggregator: peer(services.aggregator),
    dealer: peer(services.dealer),
    dealTracker: peer(services.dealTracker),
    defaultGroup: 'local',
    timing: TIMING,
  }),
})

/** The four services, as they are configured for one another on one machine. */
const fourServices = (storefronts: readonly string[]): ServiceSpec[] => [
  storefront('storefront'),
  {
    role: 'aggregator',
    name: 'aggregator',
    resources: '@w3filecoin/aggregator/resources',
    functions: '@w3filecoin/aggregator/functions',
    config: ({ services }) => ({
      storefronts: ['storefront', ...storefronts].map(role => peer(services[role])),
      dealer: peer(services.dealer),
      // Aggregates are of the size that storage providers take. Here they need not be full, nor wait for long.
      limits: { minimumFill: 0, longestWait: 3 },
      timing: TIMING,
    }),
  },
  {
    role: 'dealer',
    name: 'dealer',
    resources: '@w3filecoin/dealer/resources',
    functions: '@w3filecoin/dealer/functions',
    config: ({ services }) => ({
      aggregators: [peer(services.aggregator)],
      dealTracker: peer(services.dealTracker),
      // The market makes deals in a moment.
      timing: { ...TIMING, poll: 1 },
    }),
  },
  {
    role: 'dealTracker',
    name: 'deal-tracker',
    resources: '@w3filecoin/deal-tracker/resources',
    functions: '@w3filecoin/deal-tracker/functions',
    config: ({ services, agent, activeReplicas }) => ({
      // The agent asks for itself whether what it was told is so.
      clients: [
        ...['storefront', ...storefronts, 'dealer'].map(role => peer(services[role])),
        { did: agent.did },
      ],
      sources: [{ name: 'local', kind: 'active-replicas', url: activeReplicas }],
    }),
  },
  ...storefronts.map(storefront),
]

const peer = (address: Address | undefined) => ({ did: address!.did, url: address!.url })

const kebab = (role: string) => role.replaceAll(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)

/** By its one true name, made if it is not there. */
const dataDirectory = (data: string): string => {
  try {
    mkdirSync(data, { recursive: true })
    accessSync(data, constants.W_OK)
    return realpathSync(data)
  } catch (cause) {
    throw new UserError(`The data directory ${data} can not be written to: ${(cause as Error).message}`)
  }
}

/** Brings up the whole system; resolves when every service answers. */
export const startLocal = async ({
  data,
  port = 0,
  storefronts = [],
  configure = (_, config) => config,
  services: specs = fourServices(storefronts),
  everySeconds = 2,
  dealDelay = 1500,
  faulty = [],
  logLevel = 'info',
  onCrash = error => {
    throw error
  },
}: LocalOptions): Promise<Local> => {
  const directory = dataDirectory(data)
  /** Stops what was started, the last one first. */
  await using running = new AsyncDisposableStack()
  const portOf = (n: number) => (port === 0 ? 0 : port + n)
  const openLog = (name: string) => running.adopt(new LogFile(directory, name), log => log.close())

  const opened = await Promise.allSettled([
    startEngines({ data: directory, log: openLog('engines'), onCrash }),
    openMarket({ port: portOf(0), log: openLog('market') }),
    ...specs.map(({ name }, n) => openService({ name, port: portOf(n + 1), log: openLog(name), onCrash })),
  ] as const)
  const [engines, market, ...services] = opened.map(part =>
    part.status === 'fulfilled' ? part.value : undefined,
  ) as [Engines, Market, ...ServiceThread[]]
  running.defer(async () => engines?.stop())
  // None of these has anybody to hand anything to without the others: together.
  running.defer(async () => {
    await Promise.all([market, ...services].map(part => part?.stop()))
  })
  for (const part of opened) if (part.status === 'rejected') throw part.reason

  const identities = readIdentities(directory)
  const identityOf = async (role: string): Promise<Identity> => identities[role] ?? (await newIdentity())
  const world: World = {
    services: Object.fromEntries(
      await Promise.all(
        specs.map(async ({ role }, n) => {
          const { did, key } = await identityOf(role)
          return [role, { url: services[n]!.url, did, key }]
        }),
      ),
    ),
    agent: await identityOf('agent'),
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
    market.start({ engines, data: directory, delay: dealDelay, faulty }),
    ...specs.map(({ role, resources, functions, config }, n) =>
      services[n]!.start({
        resources,
        functions,
        everySeconds,
        env: {
          ...engines.env,
          SERVICE_KEY: world.services[role]!.key,
          CONFIG: JSON.stringify(configure(role, config(world), world)),
          LOG_LEVEL: logLevel,
        },
      }),
    ),
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
