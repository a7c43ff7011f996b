import { hash } from 'node:crypto'
import pMap, { pMapSettled } from 'p-map'
import type { Clock, Key, Queue, Stored, Table } from '../ports.ts'

/**
 * Every record of unfinished work carries the time when somebody should look at it again. A sparse index sorts by
 * that time, so a sweep costs what is overdue, not what is pending. The index is cut in shards, because one
 * partition of an index takes a bounded number of writes a second.
 */
export interface Due {
  /** When to look again, in milliseconds since 1970. Absent when the record is finished. */
  checkAt?: number | undefined
  /** The shard of the index. Present together with `checkAt`. */
  due?: string | undefined
}

/** The index by `checkAt`, in every table that is swept. */
export const DUE = 'due'

const SHARDS = [...'0123456789abcdef']

export const dueAt = (id: string, checkAt: number): Required<Due> => ({
  checkAt,
  due: hash('sha256', id).charAt(0),
})

/** Takes the record out of the sweep. */
export const notDue = { checkAt: undefined, due: undefined } satisfies Due

/** Messages, by the names of the queues that they are for. */
export type Messages<Q> = { [N in keyof Q]?: Q[N] extends Queue<infer M> ? M[] : never }

/** Sends messages, queue by queue. */
export const sendAll = async <Q extends { [N in keyof Q]: Queue<never> }>(
  queues: Q,
  messages: Messages<Q>,
): Promise<void> => {
  for (const name of Object.keys(messages) as (keyof Q)[])
    await queues[name].send((messages[name] ?? []) as never[])
}

/**
 * What unfinished records of one table are, and what gets them moving: known in one place, for the sweep that comes by
 * in time and for the operator who looks for what no sweep sees.
 */
export interface Unfinished<R, Q> {
  /** Whether there is anything left to do, whatever the record says about when to look. */
  isUnfinished: (record: R) => boolean
  /** Since when the record is at its stage, in milliseconds since 1970, where that is known. */
  stageSince: (record: R) => number | undefined
  /** What is to happen next, for people. */
  describeNext: (record: R) => string
  messages: (records: readonly Stored<R>[]) => Messages<Q>
  /** When somebody looks at a record that is not {@link Due}: no sweep does then, but a schedule of its own. */
  nextCheckAt?: (record: R) => number
}

interface SweepOptions<R> {
  table: Table<R>
  now: Clock
  /** How long until a record that was sent again is looked at the next time, in milliseconds. */
  intervalMs: (record: R) => number
  /** The most records of one shard in one sweep; the rest is for the next one. */
  limit?: number
  /** Sends what gets these records moving again. */
  resend: (records: Stored<R>[]) => Promise<void>
}

/**
 * Sends every overdue record again, then looks away from it for a while. Sending comes first: cut short, the
 * next sweep sends again. A shard that can not be swept keeps no other one from it. Returns how many were overdue.
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
      // Whoever changed a record meanwhile has said when to look again.
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

/** Waits for all sweeps of a service: one that fails keeps no other from its table. Then throws what they threw. */
export const sweepAll = async (sweeps: readonly Promise<number>[]): Promise<void> =>
  throwFailures(await Promise.allSettled(sweeps))

const throwFailures = (outcomes: readonly PromiseSettledResult<unknown>[]): void => {
  const reasons = outcomes.flatMap(outcome => (outcome.status === 'rejected' ? [outcome.reason] : []))
  // A log tells of one cause, so the message names all.
  if (reasons.length > 0) throw new AggregateError(reasons, reasons.join('; '), { cause: reasons[0] })
}
