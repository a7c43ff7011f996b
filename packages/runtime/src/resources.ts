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

/** Types a description, so that the names in it can be used as types. */
export const describeResources = <const R extends Resources>(resources: R): R => resources
