import type { HealthRecord } from './health/check.ts'
import type { MessageFormat, MessageOf, OrderedFormat, UnorderedFormat } from './messages/message-format.ts'
import type { Blocks, Clock, Engine, Log, Metrics, Queue, Table } from './ports.ts'
import { ReceiptLog, type ReceiptLogLimits, type ReceiptRecord } from './receipts/receipt-log.ts'
import { formatted, type RecordFormat, recordFormat } from './records/record-format.ts'
import { observed } from './records/transitions.ts'
import type { Resources } from './resources.ts'
import type { RevocationRecord } from './ucan/revocation.ts'

// biome-ignore-start lint/suspicious/noExplicitAny: each table has its records, and each queue its messages

/** The format of the records in each table that `R` describes. */
export type TableFormats<R extends Resources> = { [T in keyof R['tables']]: RecordFormat<any> }

/** The format of the messages in each queue that `R` describes. The messages of a FIFO queue have an order. */
export type MessageFormats<R extends Resources> = {
  [Q in keyof R['queues']]: R['queues'][Q] extends { fifo: true } ? OrderedFormat<any> : UnorderedFormat<any>
}

type RecordOf<F> = F extends RecordFormat<any> ? ReturnType<F['decode']> : never
export type AnyMessageFormats = { [queue: string]: MessageFormat<any> }

// biome-ignore-end lint/suspicious/noExplicitAny: as above

/** The record formats of the tables that every service has (see `COMMON_TABLES` in `resources.ts`). */
export const COMMON_FORMATS = {
  receipt: recordFormat<ReceiptRecord>({ version: 2, packed: ['car'] }),
  revocation: recordFormat<RevocationRecord>(),
  health: recordFormat<HealthRecord>(),
}

/** The tables of a service by their names, its receipts, and its bucket `blocks`. */
export type StoresOf<F> = { [T in keyof F]: Table<RecordOf<F[T]>> } & {
  receipts: ReceiptLog
  blocks: Blocks
}

/** The queues of a service by their names. */
export type QueuesOf<F> = { [Q in keyof F]: Queue<MessageOf<F[Q]>> }

interface StoresOptions {
  now: Clock
  limits?: ReceiptLogLimits
  /** Receive the transitions of records. Default: nothing is written. */
  log?: Log
  metrics?: Metrics
}

/** Opens every table that has a format. Used on AWS, in tests and in the simulation. */
export const openStores = <F extends typeof COMMON_FORMATS>(
  engine: Engine,
  formats: F,
  { now, limits, log = () => {}, metrics = () => {} }: StoresOptions,
): StoresOf<F> => {
  const tables = Object.fromEntries(
    Object.entries<RecordFormat<object>>(formats).map(([name, format]) => {
      const table = formatted(engine.table(name), format)
      const { workflow } = format
      return [name, workflow ? observed(table, name, workflow, { now, log, metrics }) : table]
    }),
  ) as unknown as { [T in keyof F]: Table<RecordOf<F[T]>> }
  const blocks = engine.blocks('blocks')
  const { receipt } = tables as { receipt: Table<ReceiptRecord> }
  return {
    ...tables,
    blocks,
    receipts: new ReceiptLog({ table: receipt, blocks, now, ...(limits && { limits }) }),
  }
}

/** Opens every queue that has a format; a FIFO queue with its order. */
export const openQueues = <F extends AnyMessageFormats>(engine: Engine, formats: F): QueuesOf<F> =>
  Object.fromEntries(
    Object.entries(formats).map(([name, { encode, order }]) => {
      const queue = engine.queue(name, order)
      const send: Queue<object>['send'] = (messages, options) => queue.send(messages.map(encode), options)
      return [name, { send }]
    }),
  ) as QueuesOf<F>
