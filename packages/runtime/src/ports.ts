import type { Result } from '@w3filecoin/capabilities'
import type { Link } from 'multiformats'

/**
 * Everything that the services need from outside. `@w3filecoin/aws` implements these ports with DynamoDB, SQS and S3.
 * Every implementation must pass the contracts of `@w3filecoin/testing`.
 */

/** The value of a record's attribute. CIDs are stored as text, large values as the CIDs of blocks. */
export type Attribute =
  | string
  | number
  | boolean
  | Uint8Array
  | Attribute[]
  | { [name: string]: Attribute | undefined }

/** A record as a table stores it. */
export type Row = { [name: string]: Attribute | undefined }

/** A record that a table returned. Every write increments `revision`; the first write sets it to 1. */
export type Stored<R> = R & { revision: number }

/**
 * The key of a row: the attributes that the table's description names as `key`.
 *
 * @example { group: 'kD3…', order: '1-01767225600000-kD3…' }
 */
export type Key = Record<string, string>

export interface Page<T> {
  items: T[]
  /** Pass it as `after` to read the next page. Absent on the last page. */
  next?: string
}

/**
 * A table of records. A decision that must happen once is one conditional write on one record: `insert` succeeds for the
 * first writer only, `replace` for a writer that read the present revision. Failed calls (throttled, unreachable) throw.
 */
export interface Table<R> {
  /** Reads one record, strongly consistent. */
  get(key: Key): Promise<Stored<R> | undefined>
  /** Reads records, each strongly consistent, in the order of the keys; `undefined` where there is none. */
  getMany(keys: readonly Key[]): Promise<(Stored<R> | undefined)[]>
  /** Writes a record if its key is free; else returns the existing record in the error. */
  insert(record: R): Promise<Result<Stored<R>, RecordExists<R>>>
  /** Writes the record if the table still has the revision that was read; else writes nothing. */
  replace(record: Stored<R>): Promise<Result<Stored<R>, RevisionConflict>>
  /** Writes records without a condition, for rows that are a pure function of their key. */
  putMany(records: readonly R[]): Promise<void>
  /** Removes records, without a condition. */
  removeMany(keys: readonly Key[]): Promise<void>
  /**
   * Adds to counters of a record, and sets the attributes of `initial` where they are absent. Do not `replace` such a
   * record.
   *
   * @returns the record after the write
   */
  add(key: Key, counters: Record<string, number>, initial?: Partial<R>): Promise<R>
  /**
   * Reads the rows of one partition in the order of their range key, strongly consistent. `next` is the range key of the last
   * row; as `after`, any text is valid.
   */
  list(partition: string, options: ListOptions): Promise<Page<Stored<R>>>
  /**
   * Reads the keys in one partition of an index, in the order of its range key. Indexes lag behind, so use them to find
   * work and never to make a decision: read the records with `getMany`.
   *
   * @param options.from minimum of the range key, inclusive
   * @param options.upTo maximum of the range key, inclusive
   */
  find(index: string, partition: string, options: FindOptions): Promise<Page<Key>>
}

export interface ListOptions {
  limit: number
  after?: string | undefined
}

export interface FindOptions extends ListOptions {
  from?: number | string
  upTo?: number | string
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
 * A queue of messages. A message may arrive twice, late, out of order, or never. The tables must hold enough to continue
 * the work without it.
 */
export interface Queue<M> {
  /** Resolves when the queue has accepted all messages; throws if it rejected any. */
  send(messages: readonly M[], options?: { delaySeconds?: number }): Promise<void>
}

/**
 * The order of a FIFO queue. Messages of one group are delivered one after the other. A message with the same id as one
 * sent in the last five minutes is dropped.
 */
export interface MessageOrder<M> {
  group: (message: M) => string
  id: (message: M) => string
}

/** Immutable blocks, addressed by their hash. */
export interface Blocks {
  /** Stores bytes under their CIDv1 (sha2-256) with this codec. Resolves when they are durable. */
  put(bytes: Uint8Array, codec: number): Promise<Link>
  /** Returns the bytes, verified against their hash; `undefined` if the block is missing. */
  get(link: Link): Promise<Uint8Array | undefined>
  /** Returns a public URL of an existing block. It is valid for some minutes, and serves this content type. */
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

/** Returns new random text, for nonces. */
export type Random = () => string

/** `fetch` of the web platform. */
export type Fetch = (url: string, init?: RequestInit) => Promise<Response>

/** Writes one line of structured log. Do not log keys or whole messages. */
export type Log = (level: 'debug' | 'info' | 'warn' | 'error', event: string, fields?: object) => void

/**
 * Records the values of metrics. Names that end in `Seconds` are durations, all others are counts. The service is always a
 * dimension. All values of dimensions must be bounded, because each set of them is paid for: never a piece, group or DID.
 *
 * @example metrics({ StageSeconds: 12.4 }, { record: 'piece', stage: 'queued' })
 */
export type Metrics = (values: Record<string, number>, dimensions?: Record<string, string>) => void
