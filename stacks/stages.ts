import type { AggregatorSettings } from '@w3filecoin/aggregator/config'
import type { resources as aggregator } from '@w3filecoin/aggregator/resources'
import type { DealTrackerSettings } from '@w3filecoin/deal-tracker/config'
import type { resources as dealTracker } from '@w3filecoin/deal-tracker/resources'
import type { DealerSettings } from '@w3filecoin/dealer/config'
import type { resources as dealer } from '@w3filecoin/dealer/resources'
import type { LogLevel } from '@w3filecoin/runtime'
import type { FunctionName } from '@w3filecoin/runtime/resources'
import type { StorefrontSettings } from '@w3filecoin/storefront/config'
import type { resources as storefront } from '@w3filecoin/storefront/resources'
import { STAGES } from './settings.ts'

const PRODUCTION = 'production'

export type ServiceName = 'storefront' | 'aggregator' | 'dealer' | 'deal-tracker'

/**
 * The settings of a service that a stage may set: those of its schema, without the settings that the stacks fill in.
 * docs/configuration.md lists them.
 */
type Settings<All, FilledIn extends keyof All> = Omit<All, 'self' | FilledIn>

type ReservedConcurrency = {
  storefront?: Partial<Record<FunctionName<typeof storefront>, number>>
  aggregator?: Partial<Record<FunctionName<typeof aggregator>, number>>
  dealer?: Partial<Record<FunctionName<typeof dealer>, number>>
  'deal-tracker'?: Partial<Record<FunctionName<typeof dealTracker>, number>>
}

type EmailAddress = `${string}@${string}`

/** The limits beyond which alarms ring. docs/operations.md lists the alarms. */
export interface AlarmLimits {
  /** Age of a piece at the storefront that waits for the aggregator, or for an aggregate. */
  pieceSeconds: number
  /** Age of an aggregate without a deal. */
  dealSeconds: number
  /** Pieces whose messages a sweep sends again in five minutes, for fifteen minutes. */
  overduePieces: number
  /** Age of the oldest message in a queue, and at least twice the time for which a crashed run hides a message. */
  queueSeconds: number
  /** Answers of an API with 5xx in five minutes. */
  apiErrors: number
  /** Runs of the functions of a service that AWS refused in five minutes, twice in fifteen minutes. */
  throttledRuns: number
  /** Share of its timeout that a run takes. */
  timeShare: number
  /** Share of its memory that a run uses. */
  memoryShare: number
}

/** The configuration of a deployment. It holds no secret: keys are secrets of SST, see secrets.ts. */
export interface Stage {
  /** Whether the stage serves users: then it must not lack what only a trial can do without. */
  production: boolean
  /**
   * A zone in Route 53 of the AWS account. Each service has a subdomain, e.g. `storefront.<domain>`, and is the
   * `did:web` of that name. If absent, services have the addresses that AWS assigns, and the `did:key`s of their keys.
   */
  domain?: string
  /** Keys that each service signed with as its `did:web` before the present key. Their signatures stay valid. */
  formerKeys?: Partial<Record<ServiceName, readonly `did:key:${string}`[]>>
  logLevel: LogLevel
  /**
   * The requests that API Gateway accepts on each route of each service: `perSecond` on average, `burst` at once. It answers
   * further ones with 429. Reads cannot use up the requests of invocations, because these have a route of their own.
   */
  throttling: { perSecond: number; burst: number }
  /**
   * Runs of a function that the account reserves for it, which are also the most that it may have at once. The default is
   * none: AWS keeps 100 unreserved, and a new account may have only 10. By service and function, e.g.
   * `{ storefront: { api: 50 } }`.
   */
  reservedConcurrency: ReservedConcurrency
  /**
   * ARNs of the accounts, roles or users that make deals: they may read the dealer's offer documents, and send to its queue
   * `report`. E.g. `arn:aws:iam::123456789012:role/deals`.
   */
  dealMaking: readonly string[]
  /** Addresses that alarms are sent to by email. AWS asks each for a confirmation first. E.g. `ops@example.com`. */
  alarmAddresses: readonly EmailAddress[]
  alarms: AlarmLimits
  storefront: Settings<StorefrontSettings, 'aggregator' | 'dealer' | 'dealTracker'>
  /** `storefronts`: further ones, beside the storefront of this stage. */
  aggregator: Partial<Settings<AggregatorSettings, 'dealer'>>
  /** `aggregators`: further ones, beside the aggregator of this stage, which may name every tenant. */
  dealer: Partial<Settings<DealerSettings, 'dealTracker'>>
  /** `clients`: further ones, beside the storefront, the aggregator and the dealer of this stage. */
  dealTracker: Settings<DealTrackerSettings, 'production'>
}

/** The settings of a stage that sets none. */
export const DEFAULTS: Omit<Stage, 'production'> = {
  logLevel: 'info',
  throttling: { perSecond: 100, burst: 200 },
  reservedConcurrency: {},
  dealMaking: [],
  alarmAddresses: [],
  alarms: {
    // A piece waits at most six hours for an aggregate, if its group reaches its minimum.
    pieceSeconds: 3 * 86_400,
    // Half of the time after which the dealer fails an aggregate.
    dealSeconds: 7 * 86_400,
    overduePieces: 1_000,
    queueSeconds: 3_600,
    apiErrors: 0,
    throttledRuns: 0,
    timeShare: 0.95,
    memoryShare: 0.95,
  },
  storefront: { defaultGroup: 'default' },
  aggregator: {},
  dealer: {},
  // Set `sources` in every stage that must find deals: without a source, no deal is ever known. Production needs one.
  dealTracker: {},
}

/** The settings of a stage. Absent settings have their default. */
export type StageSettings = Partial<Omit<Stage, 'production' | 'storefront' | 'alarms'>> & {
  storefront?: Partial<Stage['storefront']>
  alarms?: Partial<AlarmLimits>
}

/**
 * Returns the configuration of a stage. A stage that is not listed has the defaults.
 *
 * @throws if the stage cannot be deployed
 */
export const stageNamed = (name: string, stages: Record<string, StageSettings> = STAGES): Stage => {
  const settings = stages[name] ?? {}
  const stage: Stage = {
    ...DEFAULTS,
    ...settings,
    production: name === PRODUCTION,
    storefront: { ...DEFAULTS.storefront, ...settings.storefront },
    alarms: { ...DEFAULTS.alarms, ...settings.alarms },
  }
  // The deal tracker does not start either, but it would only say so after the deploy.
  if (stage.production && !stage.dealTracker.sources?.length)
    throw new Error(
      `The stage ${name} has no source of deals. Set dealTracker.sources of this stage in stacks/settings.ts; docs/configuration.md describes a source.`,
    )
  return stage
}

/** Returns the warnings about a stage that can be deployed nonetheless. */
export const warningsAbout = ({ production, alarmAddresses }: Stage): string[] =>
  production && alarmAddresses.length === 0
    ? [
        'No address receives the alarms of production. Set alarmAddresses of this stage in stacks/settings.ts, or subscribe to the topic alarmsTopic yourself.',
      ]
    : []
