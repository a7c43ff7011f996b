import { type DynamoDBDocumentClient, paginateScan } from '@aws-sdk/lib-dynamodb'
import { bind } from '@w3filecoin/aws'
import { Trouble } from '@w3filecoin/local/trouble'
import {
  type Clock,
  dueAt,
  formatted,
  type Messages,
  openQueues,
  type Row,
  type Stored,
  sendAll,
  type Table,
  type Unfinished,
} from '@w3filecoin/runtime'
import { variable } from '@w3filecoin/runtime/resources'
import pMap from 'p-map'
import type { AnyQueues, AnyRecord, Service } from './services.ts'
import type { Target } from './target.ts'

interface ReconcileOptions {
  target: Target
  dynamodb: DynamoDBDocumentClient
  services: readonly Service[]
  /** Whether every unfinished record is of interest; else those that nobody looks at in time. */
  all: boolean
  /** Whether what gets these records moving is sent; else nothing changes. */
  send: boolean
  /** For how long, in milliseconds, a record may be overdue: the sweep will come by. */
  grace: number
  /** The most records of one table. */
  limit: number
  now: Clock
}

/** An unfinished record that is of interest. */
export interface FoundRecord {
  key: string
  /** Whether it is what records of its table are; else nothing is sent for it. */
  understood: boolean
  /** Whether nobody looks at it in time. */
  stalled: boolean
  stage: string | undefined
  since: number | undefined
  /** When somebody was to look at it. Absent where no sweep sees it. */
  lookAt: number | undefined
  next: string
  /** What gets it moving, by queue. */
  messages: Messages<AnyQueues>
}

/** What was found in one table. */
export interface TableReport {
  service: string
  table: string
  /** Records that were read, and how many of them are unfinished; of those without an end the stalled ones. */
  read: number
  unfinished: number
  found: FoundRecord[]
  /** Whether there may be more than the limit. */
  more: boolean
}

/** Reads whole tables, and tells of each which of its records are unfinished, and whether anybody looks at them. */
export async function* reconcile({ services, ...options }: ReconcileOptions): AsyncGenerator<TableReport> {
  for (const service of services)
    for (const table of Object.keys(service.unfinished)) yield readTable(service, table, options)
}

const readTable = async (
  service: Service,
  table: string,
  { target, dynamodb, all, send, grace, limit, now }: Omit<ReconcileOptions, 'services'>,
): Promise<TableReport> => {
  const { resources } = service
  const unfinished = service.unfinished[table]!
  const places = await target.placesOf(resources.service)
  const TableName = places[variable('table', table)]
  if (TableName === undefined)
    throw new Trouble(
      `The system does not say where ${resources.service} ${table} is: it is of another version`,
    )
  const aws = bind(resources, places)
  const format = service.tables[table]!
  const queues = openQueues(aws, service.messages) as AnyQueues
  const endless = service.endless.includes(table)

  /** What is to be known of a record, unless it is finished. A record may be anything: somebody wrote to the table. */
  const describe = (row: Row): { found: FoundRecord; record?: Stored<AnyRecord> } | undefined => {
    const found = {
      key: `${row[resources.tables[table]!.key.hash]}`,
      stage: row.stage === undefined ? undefined : `${row.stage}`,
    }
    try {
      const record: Stored<AnyRecord> = format.decode(row)
      if (!unfinished.isUnfinished(record)) return undefined
      if (typeof record.revision !== 'number') throw new Trouble('it has no revision')
      const lookAt = timeOf(lookedAt(unfinished, record))
      const messages = Object.entries(unfinished.messages([record])).filter(([, some]) => some?.length)
      if (messages.length === 0) throw new Trouble('there is no message that gets it moving')
      const understood: FoundRecord = {
        ...found,
        understood: true,
        stalled: (lookAt ?? 0) < now() - grace,
        since: timeOf(unfinished.stageSince(record)),
        lookAt,
        next: unfinished.describeNext(record),
        messages: Object.fromEntries(messages),
      }
      return { found: understood, record }
    } catch (cause) {
      const next = `it can not be understood: ${cause instanceof Trouble ? cause.message : cause}`
      const unknown = { since: undefined, lookAt: undefined, next, messages: {} }
      return { found: { ...found, understood: false, stalled: true, ...unknown } }
    }
  }

  const report: TableReport = {
    service: resources.service,
    table,
    read: 0,
    unfinished: 0,
    found: [],
    more: false,
  }
  // Not by the index, which lacks the very records that no sweep sees.
  for await (const { Items = [] } of paginateScan(
    { client: dynamodb },
    { TableName, ConsistentRead: true },
  )) {
    const open = Items.flatMap(row => describe(row) ?? [])
    const wanted = open.filter(({ found }) => all || found.stalled)
    const chosen = wanted.slice(0, limit - report.found.length)
    report.more ||= wanted.length > chosen.length
    if (send) {
      const sendable = chosen.flatMap(({ found, record }) => (record ? [{ found, record }] : []))
      await sendAll(queues, unfinished.messages(sendable.map(({ record }) => record)))
      const stalled = sendable.filter(({ found }) => found.stalled)
      await seeAgain(
        formatted(aws.table(table), format),
        stalled.map(({ record }) => record),
        now() + grace,
      )
    }
    report.read += Items.length
    report.unfinished += open.filter(({ found }) => found.stalled || !endless).length
    report.found.push(...chosen.map(({ found }) => found))
  }
  return report
}

/** When somebody looks at the record; `undefined` where it is not in the index that sweeps go by. */
const lookedAt = (unfinished: Unfinished<AnyRecord, AnyQueues>, record: AnyRecord): number | undefined =>
  unfinished.nextCheckAt
    ? unfinished.nextCheckAt(record)
    : record.due === undefined
      ? undefined
      : record.checkAt

/** The time, if it is one. */
const timeOf = (time: number | undefined): number | undefined => {
  if (time !== undefined && (typeof time !== 'number' || Number.isNaN(new Date(time).getTime())))
    throw new Trouble(`${time} is no time`)
  return time
}

/** From now on the sweep looks after them, should the messages be lost. Whoever changed one meanwhile has seen to that. */
const seeAgain = async (
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
