import { bind, type Tables } from '@w3filecoin/aws'
import {
  CLOCK_TOLERANCE_MS,
  type Clock,
  DUE,
  DUE_SHARDS,
  dueAt,
  formatted,
  isFromWrongClock,
  type Keeper,
  type Lane,
  LONGEST_CHECK_MS,
  type Messages,
  openQueues,
  type Row,
  type Stored,
  sendAll,
  type Table,
  type Unfinished,
} from '@w3filecoin/runtime'
import { UserError } from '@w3filecoin/runtime/user-error'
import pMap from 'p-map'
import { checksOfKeepers, findKept, PAGE_RECORDS } from './kept.ts'
import { scanInSegments } from './scan.ts'
import { type AnyQueues, type AnyRecord, findCheckAt, type Service } from './services.ts'
import { requireTables, type Target } from './target.ts'

interface ReconcileOptions {
  target: Target
  /** The engine for tables, if it is not DynamoDB. */
  tables: Tables | undefined
  services: readonly Service[]
  /**
   * Scan whole tables in this many parallel segments. Without it, read the index that sweeps read, which lacks the records that
   * no sweep sees.
   */
  segments?: number | undefined
  /** Whether to report every unfinished record, not only stalled ones. */
  all: boolean
  /** Whether to send the messages of these records and schedule their next check. */
  send: boolean
  /** A record that is overdue for less than this is left to the sweep. */
  graceMs: number
  /** Maximum records of one table. */
  limit: number
  now: Clock
}

/** A reported record. */
export interface FoundRecord {
  key: string
  /** Whether the record is valid. Nothing is sent for an invalid one. */
  valid: boolean
  /** Whether no sweep checks the record in time, or an operator must decide. */
  stalled: boolean
  /** Set if the next check lies so far ahead that a wrong clock has set it. */
  wrongClock?: true
  stage: string | undefined
  since: number | undefined
  /** Time of the next check, or of its keeper's. Absent if neither is in the index that sweeps read. */
  checkAt: number | undefined
  next: string
  /** The messages that the sweep would send, by queue. */
  messages: Messages<AnyQueues>
}

/** The reported records of one table. */
export interface TableReport {
  service: string
  table: string
  /** Whether the whole table was scanned, or the index that sweeps read. */
  isScanned: boolean
  /** Number of records read, and of unfinished ones among them. An endless record counts only if it is stalled. */
  read: number
  unfinished: number
  found: FoundRecord[]
  /** Whether there are more records than the limit. */
  more: boolean
}

/** A row, with its record and the keeper of that, or the reason why it has none. */
interface Decoded {
  row: Row
  record?: Stored<AnyRecord>
  keeper?: Keeper | undefined
  cause?: unknown
}

/** Shards of the index that are read in parallel. */
const MAX_PARALLEL_SHARDS = 8

/** Yields the unfinished or stalled records of each table: those in the index that sweeps read, or those in whole tables. */
export async function* reconcile({ services, ...options }: ReconcileOptions): AsyncGenerator<TableReport> {
  for (const service of services)
    for (const table of Object.keys(service.unfinished)) yield readTable(service, table, options)
}

const readTable = async (
  service: Service,
  table: string,
  { target, tables, segments, all, send, graceMs, limit, now }: Omit<ReconcileOptions, 'services'>,
): Promise<TableReport> => {
  const { resources } = service
  const unfinished = service.unfinished[table]!
  const places = await target.placesOf(resources.service)
  requireTables(resources.service, places, [table])
  const aws = bind(resources, places, tables)
  const format = service.tables[table]!
  const queues = openQueues(aws, service.messages) as AnyQueues
  const endless = service.endless.includes(table)

  const readChecks = checksOfKeepers(aws)

  /** Decodes a row, and finds the keeper of its record if the record is not in the index itself. */
  const read = (row: Row): Decoded => {
    try {
      const record: Stored<AnyRecord> = format.decode(row)
      return { row, record, keeper: record.due === undefined ? unfinished.keeper?.(record) : undefined }
    } catch (cause) {
      return { row, cause }
    }
  }

  /** Describes an unfinished record; `undefined` for a finished one. A record written by hand may be invalid in any way. */
  const describe = (
    { row, record, keeper, cause: fault }: Decoded,
    checkOf: (keeper: Keeper) => number | undefined,
  ): { found: FoundRecord; record?: Stored<AnyRecord> } | undefined => {
    const { hash, range } = resources.tables[table]!.key
    const found = {
      key: range === undefined ? `${row[hash]}` : `${row[hash]} ${row[range]}`,
      stage: row.stage === undefined ? undefined : `${row.stage}`,
    }
    try {
      if (record === undefined) throw fault
      if (!unfinished.isUnfinished(record)) return undefined
      if (typeof record.revision !== 'number') throw new UserError('it has no revision')
      const checkAt = toTime(keeper ? checkOf(keeper) : findCheckAt(unfinished, record))
      const messages = Object.entries(unfinished.messages([record])).filter(([, some]) => some?.length)
      if (messages.length === 0) throw new UserError('no message belongs to its stage')
      const valid: FoundRecord = {
        ...found,
        valid: true,
        ...(keeper
          ? { stalled: checkAt === undefined }
          : judgeCheck(unfinished, record, checkAt, { now: now(), graceMs })),
        since: toTime(unfinished.stageSince(record)),
        checkAt,
        next: unfinished.describeNext(record),
        messages: Object.fromEntries(messages),
      }
      return { found: valid, record }
    } catch (cause) {
      const next = `nothing is sent, because the record is invalid: ${cause instanceof UserError ? cause.message : cause}`
      const unknown = { since: undefined, checkAt: undefined, next, messages: {} }
      return { found: { ...found, valid: false, stalled: true, ...unknown } }
    }
  }

  const hasIndex = resources.tables[table]?.indexes?.[DUE] !== undefined
  const report: TableReport = {
    service: resources.service,
    table,
    isScanned: segments !== undefined || !hasIndex,
    read: 0,
    unfinished: 0,
    found: [],
    more: false,
  }
  /** Keys of reported records: one that is sent moves on in the index, where the next page may have it again. */
  const reported = new Set<string>()
  const handle = async (rows: readonly Row[]): Promise<void> => {
    const decoded = rows.map(read)
    const checkOf = await readChecks(decoded.flatMap(({ keeper }) => keeper ?? []))
    const open = decoded
      .flatMap(one => describe(one, checkOf) ?? [])
      .filter(({ found }) => !reported.has(found.key))
    const wanted = open.filter(({ found }) => all || found.stalled)
    const chosen = wanted.slice(0, limit - report.found.length)
    report.more ||= wanted.length > chosen.length
    for (const { found } of chosen) reported.add(found.key)
    // Before the next wait: other segments and shards must not exceed the limit meanwhile.
    report.read += rows.length
    report.unfinished += open.filter(({ found }) => found.stalled || !endless).length
    report.found.push(...chosen.map(({ found }) => found))
    if (send) {
      const sendable = chosen.flatMap(({ found, record }) => (record ? [{ found, record }] : []))
      await sendAll(queues, unfinished.messages(sendable.map(({ record }) => record)))
      const stalled = sendable.filter(({ found }) => found.stalled)
      await scheduleChecks(
        formatted(aws.table(table), format),
        stalled.map(({ record }) => record),
        now() + graceMs,
      )
    }
  }

  /** Reads the index, from the record that is due first on, until the limit is reached. */
  const readIndex = async (): Promise<void> => {
    const records = aws.table(table)
    const wholeLanes = all || unfinished.needsOperator !== undefined
    const due = (['own', 'waiting'] as const).flatMap(lane =>
      DUE_SHARDS[lane].flatMap(partition =>
        (wholeLanes ? [{}] : stalledEnds(unfinished, lane, { now: now(), graceMs })).map(end => ({
          index: DUE,
          partition,
          end,
        })),
      ),
    )
    // A stalled record is not among them: its keeper would be.
    const kept = all ? (await findKept(service, table, aws)).partitions : []
    await pMap(
      [...due, ...kept.map(part => ({ ...part, end: {} }))],
      async ({ index, partition, end }) => {
        let after: string | undefined
        do {
          const page = await records.find(index, partition, { limit: PAGE_RECORDS, after, ...end })
          const rows = await records.getMany(page.items)
          await handle(rows.filter(row => row !== undefined))
          after = page.next
        } while (after !== undefined && !report.more)
      },
      { concurrency: MAX_PARALLEL_SHARDS },
    )
  }

  if (segments === undefined && hasIndex) await readIndex()
  else await scanInSegments(segments ?? 1, part => aws.scan(table, part), handle)
  return report
}

/** Returns the two parts of a shard in which stalled records are: the overdue ones, and those that a wrong clock has set. */
const stalledEnds = (
  unfinished: Unfinished<AnyRecord, AnyQueues>,
  lane: Lane,
  { now, graceMs }: { now: number; graceMs: number },
) => [{ upTo: now - graceMs }, { from: now + longestCheckMs(unfinished, lane) + CLOCK_TOLERANCE_MS }]

const longestCheckMs = ({ longestMs }: Unfinished<AnyRecord, AnyQueues>, lane: Lane): number =>
  longestMs?.[lane] ?? LONGEST_CHECK_MS

/**
 * Judges whether the record is stalled: it needs an operator, has no next check, or is overdue. A check further ahead than
 * the longest interval of such records counts as overdue, because a wrong clock has set it.
 */
const judgeCheck = (
  unfinished: Unfinished<AnyRecord, AnyQueues>,
  record: AnyRecord,
  checkAt: number | undefined,
  { now, graceMs }: { now: number; graceMs: number },
): Pick<FoundRecord, 'stalled' | 'wrongClock'> => {
  const { needsOperator, isWaiting } = unfinished
  if (needsOperator?.(record) || checkAt === undefined || checkAt < now - graceMs) return { stalled: true }
  const longest = longestCheckMs(unfinished, isWaiting?.(record) ? 'waiting' : 'own')
  return isFromWrongClock(checkAt, now, longest) ? { stalled: true, wrongClock: true } : { stalled: false }
}

/** Returns the time, and throws if it is not one. */
const toTime = (time: number | undefined): number | undefined => {
  if (time !== undefined && (typeof time !== 'number' || Number.isNaN(new Date(time).getTime())))
    throw new UserError(`${time} is not a time`)
  return time
}

/**
 * Schedules the next check of these records, in case their messages are lost. A record that changed concurrently already
 * has a new `checkAt`.
 */
const scheduleChecks = async (
  table: Table<AnyRecord>,
  records: readonly Stored<AnyRecord>[],
  checkAt: number,
): Promise<void> => {
  await pMap(
    records,
    async record => {
      if (record.id !== undefined) await table.replace({ ...record, ...dueAt(record.id, checkAt) })
    },
    { concurrency: 8 },
  )
}
