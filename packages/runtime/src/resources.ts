/**
 * What a service needs from AWS, as data. The stacks make the real resources of it, the local system makes the
 * same on embedded engines, and the functions find them by the environment that is computed here: one
 * description, three readers.
 */
export interface Resources {
  /** Name of the service, kebab-case; the package has the same name. */
  service: string
  /** The HTTP API: one function takes every request. */
  api: FunctionSpec
  tables: Record<string, TableSpec>
  /** Each has a consumer of the same name in the service, and a dead-letter queue. */
  queues: Record<string, QueueSpec>
  buckets: Record<string, BucketSpec>
  /** Each has a function of the same name in the service. */
  schedules: Record<string, ScheduleSpec>
}

export interface FunctionSpec {
  /** Seconds that one run may take. */
  timeout: number
  /** MB; AWS gives processor time in proportion, one core at 1,769. */
  memory: number
  /** What the function may touch; nothing else is permitted. */
  uses: Uses
}

export interface Uses {
  tables?: Record<string, 'read' | 'write'>
  /** Queues that it sends to. */
  queues?: readonly string[]
  buckets?: Record<string, 'read' | 'write'>
}

export interface TableSpec {
  /** Types of the attributes that are keys, of the table or of an index. */
  fields: Record<string, 'string' | 'number'>
  key: { hash: string; range?: string }
  /** Hold keys only: they find work, and the records are read from the table. */
  indexes?: Record<string, { hash: string; range?: string }>
}

/** The tables that every service has. */
export const COMMON_TABLES = {
  /** The signed receipt of each task that the service finished. */
  receipt: { fields: { task: 'string' }, key: { hash: 'task' } },
  /** Delegations that were revoked at this service, and by whom. */
  revocation: { fields: { ucan: 'string', by: 'string' }, key: { hash: 'ucan', range: 'by' } },
} as const satisfies Record<string, TableSpec>

export interface QueueSpec {
  fifo?: boolean
  /** The most messages that one run of the consumer takes. */
  batch: number
  /** Seconds to wait for a batch to fill. */
  window?: number
  /** The most runs of the consumer at a time. */
  concurrency: number
  /** How often a message is tried before it goes to the dead-letter queue. */
  attempts: number
  run: FunctionSpec
}

export interface BucketSpec {
  /** What is kept there, for people. */
  holds: string
}

export interface ScheduleSpec {
  everySeconds: number
  run: FunctionSpec
}

/**
 * Seconds for which a message stays hidden while a consumer works on it: six times the consumer's timeout, as
 * AWS advises for Lambda, and the time that a batch may take to fill.
 */
export const visibilityTimeout = ({ run, window = 0 }: QueueSpec): number => 6 * run.timeout + window

/** What a function is told the place of. `deadLetter` is the dead-letter queue of the queue that it takes from. */
export type Kind = 'table' | 'queue' | 'deadLetter' | 'bucket'

/** Name of the variable that tells a function where a resource is. */
export const variable = (kind: Kind, name: string): string =>
  `${kind}_${name}`.replaceAll(/([A-Z])|-/g, '_$1').toUpperCase()

/** The functions of a service: one for its API, one for each queue, one for each schedule. */
export type FunctionName<R extends Resources> =
  | 'api'
  | (keyof R['queues'] & string)
  | (keyof R['schedules'] & string)

/** What the named function may touch. */
export const usesOf = (resources: Resources, name: string): Uses => {
  const spec = name === 'api' ? resources.api : (resources.queues[name] ?? resources.schedules[name])?.run
  if (spec === undefined) throw new TypeError(`The ${resources.service} has no function ${name}`)
  return spec.uses
}

/** `U` if it names only what `R` describes; else a type that the misspelt name does not fit. */
type KnownUses<U extends Uses, R extends Resources> = {
  tables?: { [T in keyof U['tables']]: T extends keyof R['tables'] ? 'read' | 'write' : never }
  queues?: readonly (keyof R['queues'])[]
  buckets?: { [B in keyof U['buckets']]: B extends keyof R['buckets'] ? 'read' | 'write' : never }
}

/** The same description, whose functions use nothing that it does not describe. */
interface Coherent<R extends Resources> {
  api: { uses: KnownUses<R['api']['uses'], R> }
  queues: { [Q in keyof R['queues']]: { run: { uses: KnownUses<R['queues'][Q]['run']['uses'], R> } } }
  schedules: {
    [S in keyof R['schedules']]: { run: { uses: KnownUses<R['schedules'][S]['run']['uses'], R> } }
  }
}

/** Types a description, so that the names in it can be used as types. */
export const describeResources = <const R extends Resources>(resources: R & Coherent<R>): R => resources
