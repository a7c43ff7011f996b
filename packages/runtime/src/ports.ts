import type { Result } from '@w3filecoin/capabilities'
import type { Link } from 'multiformats'

/**
 * What the services need from the world outside, and no more. `@w3filecoin/aws` puts DynamoDB, SQS and S3 behind
 * these ports; whatever implements one must pass the store contracts of `@w3filecoin/testing`.
 */

/** What an attribute of a record may hold. CIDs are kept as text, large values as links to blocks. */
export type Attribute =
  | string
  | number
  | boolean
  | Uint8Array
  | Attribute[]
  | { [name: string]: Attribute | undefined }

export type Row = { [name: string]: Attribute | undefined }

/** A record as the table holds it. Every write raises `revision`; the first one is 1. */
export type Stored<R> = R & { revision: number }

/** The key of a row: the attributes that the table's description names as `key`. */
export type Key = Record<string, string>

export interface Page<T> {
  items: T[]
  /** Passed as `after` to read on; absent on the last page. */
  next?: string
}

/**
 * A table of records. A decision that must happen once is one conditional write on one record: `insert` for the
 * first writer, `replace` for whoever read the record last. Failed calls (throttled, unreachable) throw.
 */
export interface Table<R> {
  /** Strongly consistent. */
  get(key: Key): Promise<Stored<R> | undefined>
  /** Strongly consistent each, in the order of the keys; `undefined` where there is none. */
  getMany(keys: readonly Key[]): Promise<(Stored<R> | undefined)[]>
  /** Writes a record that is not there yet; else tells the one that is. */
  insert(record: R): Promise<Result<Stored<R>, RecordExists<R>>>
  /** Writes the record over the revision that it was read at; else nothing. */
  replace(record: Stored<R>): Promise<Result<Stored<R>, RevisionConflict>>
  /** Writes whatever is there; for rows that are a pure function of their key. */
  putMany(records: readonly R[]): Promise<void>
  removeMany(keys: readonly Key[]): Promise<void>
  /**
   * Adds to counters of a record, and sets the other attributes if it is new. Returns the record after that.
   * Such a record is never `replace`d.
   */
  add(key: Key, counters: Record<string, number>, initial?: Partial<R>): Promise<R>
  /** The rows of one partition by their range key, strongly consistent. */
  list(partition: string, options: ListOptions): Promise<Page<Stored<R>>>
  /**
   * The keys that an index holds for one partition by its range key. Indexes lag: they find work, they never
   * settle a question. Read the records with `getMany`.
   */
  find(index: string, partition: string, options: ListOptions & { upTo?: number }): Promise<Page<Key>>
}

export interface ListOptions {
  limit: number
  after?: string | undefined
}

export interface RecordExists<R> {
  name: 'RecordExists'
  message: string
  record: Stored<R>
}

export interface RevisionConflict {
  name: 'RevisionConflict'
  message: string
}

/**
 * A queue of messages. A message may come twice, late, out of order, or never; what it asks for is in the tables.
 */
export interface Queue<M> {
  /** Resolves when all messages are taken; throws when any is not. */
  send(messages: readonly M[], options?: { delaySeconds?: number }): Promise<void>
}

/**
 * The order of a FIFO queue. Messages of one group are delivered one after the other. Two messages with the same id, sent
 * within five minutes, are one message.
 */
export interface MessageOrder<M> {
  group: (message: M) => string
  id: (message: M) => string
}

/** Immutable blocks named by their hash. */
export interface Blocks {
  /** Stores bytes under the CIDv1 (sha2-256) with the given codec; resolves when they are durable. */
  put(bytes: Uint8Array, codec: number): Promise<Link>
  /** The bytes, checked against their hash; `undefined` when they are not there. */
  get(link: Link): Promise<Uint8Array | undefined>
  /** An address where anybody can fetch a block that is there, for some minutes, with this content type. */
  locate(link: Link, type: string): Promise<string>
}

/** Opens the tables, queues and buckets of one service, each by its name in the service's resources. */
export interface Engine {
  table<R extends object = Row>(name: string): Table<R>
  queue<M>(name: string, order?: MessageOrder<M>): Queue<M>
  blocks(name: string): Blocks
}

/** Time in milliseconds since 1970. */
export type Clock = () => number

/** Fresh random text, for nonces. */
export type Random = () => string

export type Fetch = (url: string, init?: RequestInit) => Promise<Response>

/** One line of structured log. Never holds keys or whole messages. */
export type Log = (level: 'debug' | 'info' | 'warn' | 'error', event: string, fields?: object) => void
