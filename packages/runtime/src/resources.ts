/**
 * The AWS resources of a service, as data. It has three readers: the stacks create the resources on AWS, the local system
 * creates them on embedded engines, and the functions find them through the environment variables named here.
 */
export interface Resources {
  /** Name of the service, kebab-case; the package has the same name. */
  service: string
  /** The HTTP API: one function handles every request. */
  api: FunctionSpec
  tables: Record<string, TableSpec>
  /** Each has a consumer of the same name in the service, and a dead-letter queue. */
  queues: Record<string, QueueSpec>
  buckets: Record<string, BucketSpec>
  /** Each has a function of the same name in the service. */
  schedules: Record<string, ScheduleSpec>
}

export interface FunctionSpec {
  /** Maximum duration of one run, in seconds. */
  timeout: number
  /** Memory in MB. AWS allots processor time in proportion: one core at 1,769 MB. */
  memory: number
  /** The resources that the function may use. It has no other permissions. */
  uses: Uses
}

export interface Uses {
  tables?: Record<string, 'read' | 'write'>
  /** The queues that it may send to. */
  queues?: readonly string[]
  buckets?: Record<string, 'read' | 'write'>
}

export interface TableSpec {
  /** The types of all key attributes, of the table and of its indexes. */
  fields: Record<string, 'string' | 'number'>
  key: { hash: string; range?: string }
  /** Indexes contain keys only: read the records from the table. */
  indexes?: Record<string, { hash: string; range?: string }>
  /**
   * The attribute with the time, in seconds since 1970, after which DynamoDB deletes a row. It deletes rows late, within days,
   * so code that reads them must check the time. The local engine does not delete rows.
   */
  expires?: 'expiresAt'
  /** If the rows were lost, the service would count or acquire them again. They need no point-in-time recovery. */
  derived?: true
}

/** The tables that every service has. */
export const COMMON_TABLES = {
  /** The signed receipt of each task that the service finished. */
  receipt: { fields: { task: 'string' }, key: { hash: 'task' }, expires: 'expiresAt' },
  /** The delegations that were revoked at this service, each with the principal that revoked it. */
  revocation: { fields: { ucan: 'string', by: 'string' }, key: { hash: 'ucan', range: 'by' } },
  /** The result of each check of the service: one row for each peer, source, … that its configuration names. */
  health: {
    fields: { service: 'string', name: 'string' },
    key: { hash: 'service', range: 'name' },
    derived: true,
  },
} as const satisfies Record<string, TableSpec>

/** The interval at which every service checks its configuration: its schedule `check`. */
export const CHECK_SECONDS = 300

/** Returns the schedule `check` of a service. */
export const checkSchedule = <const U extends Uses>(uses: U) => ({
  everySeconds: CHECK_SECONDS,
  unhurried: true as const,
  run: { timeout: 120, memory: 1024, uses },
})

/** The table of a service that promises tasks in dialects. */
export const TRANSLATION_TABLE = {
  /** Tasks promised in a dialect, each with the task of the protocol that means the same. */
  translation: {
    fields: { id: 'string', due: 'string', checkAt: 'number' },
    key: { hash: 'id' },
    indexes: { due: { hash: 'due', range: 'checkAt' } },
  },
} as const satisfies Record<string, TableSpec>

/** The table of a service that answers principals which its operator lists. */
export const PEER_TABLE = {
  /** The peers that an operator listed beside those in the configuration, by their DID and by the list. */
  peer: { fields: { did: 'string', list: 'string' }, key: { hash: 'did', range: 'list' } },
} as const satisfies Record<string, TableSpec>

export interface QueueSpec {
  fifo?: boolean
  /** Maximum number of messages per run of the consumer. */
  batch: number
  /** Seconds to wait for a batch to fill. */
  window?: number
  /** Maximum number of concurrent runs of the consumer. */
  concurrency: number
  /** Number of deliveries after which a message goes to the dead-letter queue. */
  attempts: number
  run: FunctionSpec
}

export interface BucketSpec {
  /** Describes the contents to the operator. */
  holds: string
  /**
   * Methods that web pages of any origin may use on its objects (CORS), with a presigned URL. The default is none: browsers
   * then keep the responses from web pages.
   */
  webMethods?: readonly ('GET' | 'HEAD' | 'PUT')[]
  /**
   * Days after its last write at which S3 deletes an object. The service must write objects that it still needs again
   * before. The default is to keep objects. The local engine does not delete objects.
   */
  keepDays?: number
  /** Days after which S3 removes the parts of an upload that was not completed. The local engine keeps them. */
  uploadDays?: number
}

export interface ScheduleSpec {
  everySeconds: number
  /**
   * Set if no work waits for its runs. The local system shortens the interval of the other schedules, because a minute is long
   * on a laptop.
   */
  unhurried?: true
  run: FunctionSpec
}

/**
 * Returns the visibility timeout of a queue in seconds: six times the consumer's timeout, as AWS recommends for Lambda,
 * plus the time that a batch may take to fill.
 */
export const visibilityTimeout = ({ run, window = 0 }: QueueSpec): number => 6 * run.timeout + window

/** The kinds of resources. `deadLetter` is the dead-letter queue of the queue that a function consumes. */
export type Kind = 'table' | 'queue' | 'deadLetter' | 'bucket'

/**
 * Returns the name of the environment variable that holds the address of a resource.
 *
 * @example variable('table', 'piece') // 'TABLE_PIECE'
 * @example variable('deadLetter', 'submit') // 'DEAD_LETTER_SUBMIT'
 */
export const variable = (kind: Kind, name: string): string =>
  `${kind}_${name}`.replaceAll(/([A-Z])|-/g, '_$1').toUpperCase()

/** The functions of a service: one for its API, one for each queue, one for each schedule. */
export type FunctionName<R extends Resources> =
  | 'api'
  | (keyof R['queues'] & string)
  | (keyof R['schedules'] & string)

/** Returns the resources that a function may use. Throws if the service has no function of this name. */
export const usesOf = (resources: Resources, name: string): Uses => {
  const spec = name === 'api' ? resources.api : (resources.queues[name] ?? resources.schedules[name])?.run
  if (spec === undefined)
    throw new TypeError(
      `The ${resources.service} has no function '${name}'. Use 'api', or the name of a queue or schedule in its resources.ts.`,
    )
  return spec.uses
}

/** `U` if `R` describes every resource in it; else a type that rejects the misspelt name. */
type KnownUses<U extends Uses, R extends Resources> = {
  tables?: { [T in keyof U['tables']]: T extends keyof R['tables'] ? 'read' | 'write' : never }
  queues?: readonly (keyof R['queues'])[]
  buckets?: { [B in keyof U['buckets']]: B extends keyof R['buckets'] ? 'read' | 'write' : never }
}

/** A description whose functions use only resources that it describes. */
interface Coherent<R extends Resources> {
  api: { uses: KnownUses<R['api']['uses'], R> }
  queues: { [Q in keyof R['queues']]: { run: { uses: KnownUses<R['queues'][Q]['run']['uses'], R> } } }
  schedules: {
    [S in keyof R['schedules']]: { run: { uses: KnownUses<R['schedules'][S]['run']['uses'], R> } }
  }
}

/** Returns the description with its literal type, so that the names in it are types. */
export const describeResources = <const R extends Resources>(resources: R & Coherent<R>): R => resources
