import { hash } from 'node:crypto'
import pMap from 'p-map'
import type { Clock, Key, Metrics, Queue, Stored, Table } from '../ports.ts'
import type { Entered } from './transitions.ts'

/**
 * Every record of unfinished work has a `checkAt`, the time when the sweep checks it again, unless it has a {@link Keeper}. A
 * sparse index sorts by that time, so the cost of a sweep grows with the overdue records, not with the pending ones. The index
 * has shards because DynamoDB limits the writes per second to one partition of an index.
 *
 * @example A piece whose content must be read: `{ checkAt: 1767225660000, due: 'a' }`
 * @example A piece that waits for its deal: `{ checkAt: 1767830400000, due: 'w2' }`
 */
export interface Due {
  /** When the sweep checks the record, in milliseconds since 1970. Absent when the record is finished. */
  checkAt?: number | undefined
  /** The shard of the index, see {@link dueAt}. Present together with `checkAt`. */
  due?: string | undefined
}

/** Name of the index by `checkAt`, in every table that a sweep reads. */
export const DUE = 'due'

/**
 * The index has two lanes: `own` for records that the service itself advances, `waiting` for records that only wait for
 * another party. A lost message of an `own` record is then sent again soon, however many records wait.
 */
export type Lane = 'own' | 'waiting'

/** The shards of the index, by lane: the values of `due`. */
export const DUE_SHARDS: Readonly<Record<Lane, readonly string[]>> = {
  own: [...'0123456789abcdef'],
  waiting: ['w0', 'w1', 'w2', 'w3'],
}

/** All shards of the index, for operators. */
export const ALL_SHARDS: readonly string[] = Object.values(DUE_SHARDS).flat()

/** Returns the attributes that put a record into the sweep at `checkAt`. The hash of its id determines the shard. */
export const dueAt = (id: string, checkAt: number, lane: Lane = 'own'): Required<Due> => {
  const shards = DUE_SHARDS[lane]
  return { checkAt, due: shards[Number.parseInt(hash('sha256', id).charAt(0), 16) % shards.length] as string }
}

/** The attributes that take a record out of the sweep. */
export const notDue = { checkAt: undefined, due: undefined } satisfies Due

/** No check is scheduled further ahead than this, unless the configuration or the record's `Unfinished` says so. */
export const LONGEST_CHECK_MS = 6 * 60 * 60 * 1000

/**
 * Returns the time until work that only time can advance is tried again, with exponential backoff: after as long as it has
 * waited already, between two bounds. If they conflict, the lower bound counts. In milliseconds.
 */
export const backoffMs = (waitedMs: number, leastMs: number, mostMs = LONGEST_CHECK_MS): number =>
  Math.max(leastMs, Math.min(waitedMs, mostMs))

/** Difference between the clocks of two functions that is normal. */
export const CLOCK_TOLERANCE_MS = 5 * 60 * 1000

/**
 * Whether a time lies so far ahead that only a wrong clock can have set it. Treat such a time as past: with the right
 * clock, it would be.
 *
 * @param longestMs the longest time ahead that a right clock sets
 */
export const isFromWrongClock = (time: number, now: number, longestMs = 0): boolean =>
  time > now + longestMs + CLOCK_TOLERANCE_MS

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
  /** Whether the record counts as stalled although the sweep checks it: the services alone may never finish it. */
  needsOperator?: (record: R) => boolean
  /** Name of the check of the service that fails while the record needs an operator, e.g. `orders`: status then names it once. */
  reportedBy?: (record: R) => string | undefined
  /** The settings of the service that name the parties which must act next, e.g. `aggregator`. Default: only the service itself. */
  waitsOn?: (record: R) => readonly string[]
  /** The last problem of the next step, in words for the operator. */
  trouble?: (record: R) => string | undefined
  /** The messages that continue the work on these records. */
  messages: (records: readonly Stored<R>[]) => Messages<Q>
  /** Whether the record only waits for another party: see {@link Lane}. Default: it never does. */
  isWaiting?: (record: R) => boolean
  /** The longest interval between two checks, where it is not {@link LONGEST_CHECK_MS}. In milliseconds. */
  longestMs?: Partial<Record<Lane, number>>
  /** When a record without `checkAt` is checked next, by a dedicated schedule instead of the sweep. In milliseconds since 1970. */
  nextCheckAt?: (record: R) => number
  /** The record whose checks also cover this one; `undefined` if the sweep does. Default: the sweep does. */
  keeper?: (record: R) => Keeper | undefined
  /** The records that the checks of a record of this table cover. */
  keeps?: {
    /** Their table, and an index of it. */
    table: string
    index: string
    /** The partitions of that index which have the records of one keeper. */
    partitions: (record: R) => readonly string[]
  }
}

/**
 * A record whose checks also cover other ones, which therefore have no `checkAt`: an entry in the index by `checkAt` costs
 * a write when it is added, and another one when it is removed.
 *
 * @example { table: 'group', id: 'did:web:free.example' } covers a piece that waits in that group
 */
export interface Keeper {
  /** The table of the keeper, in the same service, and its key. */
  table: string
  id: string
}

/** A stage, and since when a record is at it, in milliseconds since 1970. */
export interface StageAge {
  record: string
  stage: string
  since: number
}

interface SweepOptions<R> {
  /** The kind of the records in metrics: the name of the table. */
  kind: string
  table: Table<R>
  /** Milliseconds until the next check of a record whose messages were sent. */
  intervalMs: (record: R) => number
  /** The longest interval between two checks, in milliseconds. A `checkAt` further ahead counts as overdue. */
  longestMs: Record<Lane, number>
  /** @see Unfinished.isWaiting */
  isWaiting?: ((record: R) => boolean) | undefined
  /** Whether the record has a keeper: then it leaves the index. Default: none has. */
  isKept?: ((record: R) => boolean) | undefined
  /** Sends the messages that continue the work on these records. */
  resend: (records: Stored<R>[]) => Promise<void>
  /** Returns the stage whose age the record shows; `undefined` if none. Default: its own, if the table reports transitions. */
  ageOf?: (record: R) => StageAge | undefined
}

interface SweepTime {
  now: Clock
  /** Records are overdue that were due then. In milliseconds since 1970. */
  startedAt: number
  /** No page is begun after this time, except the first one of each shard. */
  endsAt: number
  /** Records that are read and sent at a time. */
  pageRecords: number
}

/** The overdue records of one shard. */
interface Swept {
  kind: string
  overdue: number
  /** Of each stage, the oldest record. */
  oldest: Map<string, StageAge>
}

/** Sweeps one lane of one table, shard by shard. */
export type Sweep = (lane: Lane, time: SweepTime) => Promise<Swept>[]

/** Interval at which the far end of the index is searched. Records are there only after a clock was wrong. */
const FAR_END_MS = 5 * 60 * 1000

/** Records of a page that are moved on in parallel. All shards are swept in parallel too. */
const MAX_PARALLEL_WRITES = 4

/**
 * Sweeps the records of a table: sends the messages of every overdue record, then moves its `checkAt` on. It sends first:
 * if the sweep is interrupted, the next one sends again. It goes on page by page, the oldest records first, while it has
 * time.
 *
 * A wrong clock may have set a `checkAt` that is far ahead. Such records are at the other end of the index, and are
 * handled in the same way. To save calls, one process searches for them every five minutes only.
 */
export const sweep = <R extends Due & Entered & { id: string }>({
  kind,
  table,
  intervalMs,
  longestMs,
  isWaiting = () => false,
  isKept = () => false,
  resend,
  ageOf = record => ageOfStage(kind, record),
}: SweepOptions<R>): Sweep => {
  const laneOf = (record: R): Lane => (isWaiting(record) ? 'waiting' : 'own')
  /** When the far end of each lane was searched last. */
  const searchedAt: Record<Lane, number> = { own: -Infinity, waiting: -Infinity }

  return (lane, { now, startedAt, endsAt, pageRecords }) => {
    const isOverdue = (record: R): boolean =>
      record.checkAt !== undefined &&
      (record.checkAt <= startedAt || isFromWrongClock(record.checkAt, startedAt, longestMs[laneOf(record)]))

    /** Earlier code had kept records in the index. */
    const place = (record: Stored<R>, checkAt: number): Stored<R> => ({
      ...record,
      ...(isKept(record) ? notDue : dueAt(record.id, checkAt, laneOf(record))),
    })

    /** Handles records that the index returned, and adds the overdue ones to `swept`. */
    const sweepPage = async (keys: readonly Key[], shard: string, swept: Swept): Promise<void> => {
      const records = (await table.getMany(keys)).filter(record => record !== undefined)
      const overdue = records.filter(isOverdue)
      if (overdue.length > 0) await resend(overdue)
      // Earlier code had one lane: move its records that wait to theirs.
      const misplaced = records.filter(
        record => record.due === shard && laneOf(record) !== lane && !isOverdue(record),
      )
      const next = [
        ...overdue.map(record =>
          place(record, now() + Math.min(intervalMs(record), longestMs[laneOf(record)])),
        ),
        ...misplaced.map(record => place(record, record.checkAt as number)),
      ]
      // A conflict is ignored: a record changed concurrently already has a new `checkAt`.
      await pMap(next, record => table.replace(record), { concurrency: MAX_PARALLEL_WRITES })
      swept.overdue += overdue.length
      keepOldest(swept.oldest, overdue.map(ageOf))
    }

    const sweepShard = async (shard: string): Promise<Swept> => {
      const swept: Swept = { kind, overdue: 0, oldest: new Map() }
      const farEnd = { from: startedAt + longestMs[lane] + CLOCK_TOLERANCE_MS }
      for (const end of [{ upTo: startedAt }, ...(searchFarEnd ? [farEnd] : [])]) {
        let after: string | undefined
        do {
          const page = await table.find(DUE, shard, { limit: pageRecords, after, ...end })
          if (page.items.length > 0) await sweepPage(page.items, shard, swept)
          after = page.next
        } while (after !== undefined && now() < endsAt)
      }
      return swept
    }

    // The difference is negative if the clock of the last search was ahead.
    const searchFarEnd = Math.abs(startedAt - searchedAt[lane]) >= FAR_END_MS
    if (searchFarEnd) searchedAt[lane] = startedAt
    return DUE_SHARDS[lane].map(sweepShard)
  }
}

const ageOfStage = (record: string, { entered }: Entered): StageAge | undefined =>
  entered?.at === undefined ? undefined : { record, stage: entered.stage, since: entered.at }

const keepOldest = (oldest: Map<string, StageAge>, ages: Iterable<StageAge | undefined>): void => {
  for (const age of ages) {
    const key = `${age?.record} ${age?.stage}`
    if (age && age.since < (oldest.get(key)?.since ?? Infinity)) oldest.set(key, age)
  }
}

/** Records of one shard that are handled at a time: DynamoDB reads 100 in one call. */
const PAGE_RECORDS = 100

/** Time at the end of a run that is left to the pages in progress, in milliseconds. */
const RESERVE_MS = 10_000

/** The part of a run in which records that wait for another party have to stand back, if `own` records need it. */
const OWN_SHARE = 3 / 4

/**
 * Runs the sweeps of a service: the lane `own` of all tables, then the lane `waiting`. A shard that fails does not stop
 * the other ones.
 *
 * Of each table, it records the number of overdue records, and the age of the oldest of them at each stage.
 *
 * @param options.timeoutSeconds the timeout of the function that runs it
 * @returns the number of overdue records
 * @throws AggregateError after all shards, if any failed
 */
export const sweepAll = async (
  sweeps: readonly Sweep[],
  {
    now,
    timeoutSeconds,
    metrics,
    pageRecords = PAGE_RECORDS,
  }: { now: Clock; timeoutSeconds: number; metrics: Metrics; pageRecords?: number },
): Promise<number> => {
  const startedAt = now()
  const runMs = timeoutSeconds * 1000 - RESERVE_MS
  const shards: PromiseSettledResult<Swept>[] = []
  for (const [lane, share] of [
    ['own', OWN_SHARE],
    ['waiting', 1],
  ] as const) {
    const time = { now, startedAt, endsAt: startedAt + runMs * share, pageRecords }
    shards.push(...(await Promise.allSettled(sweeps.flatMap(sweep => sweep(lane, time)))))
  }
  const swept = shards.flatMap(shard => (shard.status === 'fulfilled' ? [shard.value] : []))
  measure(swept, metrics, startedAt)
  throwFailures(shards)
  return swept.reduce((sum, { overdue }) => sum + overdue, 0)
}

const measure = (swept: readonly Swept[], metrics: Metrics, now: number): void => {
  const overdue = new Map<string, number>()
  const oldest = new Map<string, StageAge>()
  for (const shard of swept) {
    overdue.set(shard.kind, (overdue.get(shard.kind) ?? 0) + shard.overdue)
    keepOldest(oldest, shard.oldest.values())
  }
  for (const [record, count] of overdue) metrics({ Overdue: count }, { record })
  for (const { record, stage, since } of oldest.values())
    metrics({ OldestSeconds: Math.max(0, now - since) / 1000 }, { record, stage })
}

const throwFailures = (outcomes: readonly PromiseSettledResult<unknown>[]): void => {
  const reasons = outcomes.flatMap(outcome => (outcome.status === 'rejected' ? [outcome.reason] : []))
  // The log prints one cause, so the message names all of them: each once, because shards often fail for one reason.
  if (reasons.length > 0)
    throw new AggregateError(reasons, [...new Set(reasons.map(String))].join('; '), { cause: reasons[0] })
}
