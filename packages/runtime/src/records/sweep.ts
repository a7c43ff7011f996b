import { hash } from 'node:crypto'
import pMap, { pMapSettled } from 'p-map'
import type { Clock, Key, Queue, Stored, Table } from '../ports.ts'

/**
 * Every record of unfinished work has a `checkAt`, the time when the sweep checks it again. A sparse index sorts by that
 * time, so the cost of a sweep grows with the overdue records, not with the pending ones. The index has shards because
 * DynamoDB limits the writes per second to one partition of an index.
 *
 * @example { checkAt: 1767225660000, due: 'a' }
 */
export interface Due {
  /** When the sweep checks the record, in milliseconds since 1970. Absent when the record is finished. */
  checkAt?: number | undefined
  /** The shard of the index, a hexadecimal digit. Present together with `checkAt`. */
  due?: string | undefined
}

/** Name of the index by `checkAt`, in every table that a sweep reads. */
export const DUE = 'due'

const SHARDS = [...'0123456789abcdef']

/** Returns the attributes that put a record into the sweep at `checkAt`. The shard is the first digit of the id's hash. */
export const dueAt = (id: string, checkAt: number): Required<Due> => ({
  checkAt,
  due: hash('sha256', id).charAt(0),
})

/** The attributes that take a record out of the sweep. */
export const notDue = { checkAt: undefined, due: undefined } satisfies Due

/** Messages by the name of their queue. */
export type Messages<Q> = { [N in keyof Q]?: Q[N] extends Queue<infer M> ? M[] : never }

/** Sends messages, one queue after the other. */
export const sendAll = async <Q extends { [N in keyof Q]: Queue<never> }>(
  queues: Q,
  messages: Messages<Q>,
): Promise<void> => {
  for (const name of Object.keys(messages) as (keyof Q)[])
    await queues[name].send((messages[name] ?? []) as never[])
}

/**
 * Says which records of one table are unfinished, and which messages continue their work. The sweep uses it for records
 * that are due, and `npm run ops -- reconcile` for records that are missing from the index.
 */
export interface Unfinished<R, Q> {
  /** Whether work is left to do. Does not depend on `checkAt`. */
  isUnfinished: (record: R) => boolean
  /** When the record reached its stage, in milliseconds since 1970; `undefined` if unknown. */
  stageSince: (record: R) => number | undefined
  /** Describes the next step to the operator. */
  describeNext: (record: R) => string
  /** The messages that continue the work on these records. */
  messages: (records: readonly Stored<R>[]) => Messages<Q>
  /** When a record without `checkAt` is checked next, by a dedicated schedule instead of the sweep. In milliseconds since 1970. */
  nextCheckAt?: (record: R) => number
}

interface SweepOptions<R> {
  table: Table<R>
  now: Clock
  /** Milliseconds until the next check of a record whose messages were sent. */
  intervalMs: (record: R) => number
  /** Maximum number of records per shard in one sweep. The next sweep handles the remaining ones. */
  limit?: number
  /** Sends the messages that continue the work on these records. */
  resend: (records: Stored<R>[]) => Promise<void>
}

/**
 * Sends the messages of every overdue record, then moves its `checkAt` on. It sends first: if the sweep is interrupted,
 * the next one sends again. A failing shard does not stop the other shards.
 *
 * @returns the number of overdue records
 * @throws AggregateError after all shards, if any failed
 */
export const sweep = async <R extends Due & { id: string }>({
  table,
  now,
  intervalMs,
  limit = 200,
  resend,
}: SweepOptions<R>): Promise<number> => {
  const swept = await pMapSettled(
    SHARDS,
    async shard => {
      const { items } = await table.find(DUE, shard, { limit, upTo: now() })
      const records = await table.getMany(items as Key[])
      const overdue = records.filter(
        (record): record is Stored<R> => record?.checkAt !== undefined && record.checkAt <= now(),
      )
      if (overdue.length === 0) return 0
      await resend(overdue)
      // A conflict is ignored: a record changed concurrently already has a new `checkAt`.
      await pMap(overdue, record => table.replace({ ...record, checkAt: now() + intervalMs(record) }), {
        concurrency: 8,
      })
      return overdue.length
    },
    { concurrency: 4 },
  )
  throwFailures(swept)
  return swept.reduce((sum, shard) => sum + (shard.status === 'fulfilled' ? shard.value : 0), 0)
}

/**
 * Waits for all sweeps of a service. A failing sweep does not stop the others.
 *
 * @throws AggregateError after all sweeps, if any failed
 */
export const sweepAll = async (sweeps: readonly Promise<number>[]): Promise<void> =>
  throwFailures(await Promise.allSettled(sweeps))

const throwFailures = (outcomes: readonly PromiseSettledResult<unknown>[]): void => {
  const reasons = outcomes.flatMap(outcome => (outcome.status === 'rejected' ? [outcome.reason] : []))
  // The log prints one cause, so the message names all of them.
  if (reasons.length > 0) throw new AggregateError(reasons, reasons.join('; '), { cause: reasons[0] })
}
