import type { Clock, Log, Metrics, Stored, Table } from '../ports.ts'

/**
 * When a record entered its stage. {@link observed} reads and writes it; transitions pass it on as it is.
 *
 * @example `{ id: 'kD3…', stage: 'pending', entered: { stage: 'pending', at: 1767225660000 }, … }`
 */
export interface Entered {
  /** `at` in milliseconds since 1970. Absent if earlier code wrote the stage. */
  entered?: { stage: string; at?: number } | undefined
}

/** Why a record failed. */
export interface Reason {
  /** The name of the failure, e.g. `ContentNotFound`. */
  name: string
  message: string
}

/** Says how the transitions of one table's records are reported. */
export interface Workflow<R> {
  stageOf(record: R): string
  /** Whether the stage ends the workflow. */
  isFinal(record: R): boolean
  /** When the workflow began, in milliseconds since 1970. */
  startedAt(record: R): number | undefined
  /** When a record of earlier code entered its stage, in milliseconds since 1970; `undefined` if it does not say so. */
  stageSince?(record: R): number | undefined
  /** Why the record failed; `undefined` if it did not. */
  reasonOf?(record: R): Reason | undefined
  /** The identifiers that the record knows, e.g. CIDs of its piece and of the promised task that ends it. */
  identify(record: R): object | Promise<object>
}

/** Receives the transitions of records. */
export interface Observer {
  log: Log
  metrics: Metrics
}

/** Reasons that are values of a metric's dimension. Names of failures from other services are not bounded. */
const REASONS: ReadonlySet<string> = new Set([
  'AggregateTooLarge',
  'ContentNotFound',
  'DealNotFound',
  'InvalidContentPiece',
  'InvalidPiece',
  'InvalidPieceCID',
  'ProofNotFound',
])

const MAX_REASON_CHARACTERS = 500

/** Returns a failure as a record or a log line keeps it: other services may send long messages. */
export const toReason = ({ name, message }: Reason): Reason => ({
  name: `${name}`.slice(0, MAX_REASON_CHARACTERS),
  message: `${message}`.slice(0, MAX_REASON_CHARACTERS),
})

/**
 * Returns the table with a report of every transition of its records: one log line `stage entered`, and the metrics
 * `StageSeconds`, `TotalSeconds` and `Failed`. It makes no further read or write: each record has the stage and time at
 * which it entered it in {@link Entered}, so a write that changes the stage shows by itself.
 *
 * A transition is reported after its conditional write has succeeded, so at most once: a run that is killed in between
 * reports nothing.
 *
 * @param kind the name of the table, e.g. `piece`
 * @example {"time":"2026-01-01T00:01:00.000Z","level":"info","service":"aggregator","request":"8f5e…",
 * "event":"stage entered","record":"piece","id":"kD3…","stage":"included","from":"pending","afterSeconds":59.2,
 * "piece":"bafkzci…","group":"free","task":"bafyrei…"}
 */
export const observed = <R extends object>(
  table: Table<R>,
  kind: string,
  { stageOf, isFinal, startedAt, stageSince, reasonOf, identify }: Workflow<R>,
  { now, log, metrics }: Observer & { now: Clock },
): Table<R> => {
  const stamp = <S extends R>(record: S, at: number | undefined): S & Entered => ({
    ...record,
    entered: { stage: stageOf(record), ...(at !== undefined && { at }) },
  })
  /** Earlier code passes the attribute on although it changes the stage. */
  const recall = <S extends R & Entered>(record: S): S =>
    record.entered?.stage === stageOf(record) ? record : stamp(record, stageSince?.(record))
  const recallAny = (record: Stored<R> | undefined) => record && recall(record)

  /** The write is done: a report that fails, e.g. because a packed task is damaged, must not fail the work. */
  const report = async (record: Stored<R> & Entered, left?: Entered['entered']): Promise<void> => {
    try {
      await describe(record, left)
    } catch (cause) {
      log('error', 'transition not reported', { record: kind, id: (record as { id?: string }).id, cause })
    }
  }

  const describe = async (record: Stored<R> & Entered, left?: Entered['entered']): Promise<void> => {
    const { stage, at = now() } = record.entered ?? { stage: stageOf(record) }
    const afterSeconds = left?.at === undefined ? undefined : secondsBetween(left.at, at)
    const reason = reasonOf?.(record)
    const { id } = record as { id?: string }
    const identifiers = await identify(record)
    log('info', 'stage entered', {
      record: kind,
      id,
      stage,
      from: left?.stage,
      afterSeconds,
      ...identifiers,
      reason: reason && toReason(reason),
    })
    if (left && afterSeconds !== undefined)
      metrics({ StageSeconds: afterSeconds }, { record: kind, stage: left.stage })
    const begin = startedAt(record)
    if (isFinal(record) && begin !== undefined)
      metrics({ TotalSeconds: secondsBetween(begin, at) }, { record: kind, stage })
    if (reason)
      metrics({ Failed: 1 }, { record: kind, reason: REASONS.has(reason.name) ? reason.name : 'Other' })
  }

  return {
    ...table,
    get: async key => recallAny(await table.get(key)),
    getMany: async keys => (await table.getMany(keys)).map(recallAny),
    insert: async record => {
      const { ok, error } = await table.insert(stamp(record, now()))
      if (error) return { error: { ...error, record: recall(error.record) } }
      await report(ok)
      return { ok }
    },
    replace: async (record: Stored<R> & Entered) => {
      const { entered: left } = record
      if (left?.stage === stageOf(record)) return table.replace(record)
      const { ok, error } = await table.replace(stamp(record, now()))
      if (error) return { error }
      await report(ok, left)
      return { ok }
    },
    list: async (partition, options) => {
      const { items, ...rest } = await table.list(partition, options)
      return { items: items.map(recall), ...rest }
    },
  }
}

/** Zero if a clock was wrong. */
const secondsBetween = (from: number, to: number): number => Math.max(0, to - from) / 1000
