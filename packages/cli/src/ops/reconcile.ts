import { type DynamoDBDocumentClient, paginateScan } from '@aws-sdk/lib-dynamodb'
import { bind } from '@w3filecoin/aws'
import { variable } from '@w3filecoin/aws/resources'
import {
  type Clock,
  dueAt,
  type Messages,
  type Stored,
  sendAll,
  type Table,
  type Unfinished,
} from '@w3filecoin/service'
import { UserError } from '@w3filecoin/service/user-error'
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
    throw new UserError(
      `The system does not say where ${resources.service} ${table} is: it is of another version`,
    )
  const aws = bind(resources, places)
  const queues = Object.fromEntries(
    Object.keys(resources.queues).map(name => [name, aws.queue(name, service.fifo[name])]),
  )
  const endless = service.endless.includes(table)

  /** What is to be known of a record, unless it is finished. A record may be anything: somebody wrote to the table. */
  const describe = (record: Stored<AnyRecord>): FoundRecord | undefined => {
    const found = {
      key: `${record[resources.tables[table]!.key.hash as 'id' | 'name']}`,
      stage: record.stage === undefined ? undefined : `${record.stage}`,
    }
    try {
      if (!unfinished.is(record)) return undefined
      if (typeof record.revision !== 'number') throw new UserError('it has no revision')
      const lookAt = timeOf(lookedAt(unfinished, record))
      const messages = Object.entries(unfinished.messages([record])).filter(([, some]) => some?.length)
      if (messages.length === 0) throw new UserError('there is no message that gets it moving')
      return {
        ...found,
        understood: true,
        stalled: (lookAt ?? 0) < now() - grace,
        since: timeOf(unfinished.since(record)),
        lookAt,
        next: unfinished.next(record),
        messages: Object.fromEntries(messages),
      }
    } catch (cause) {
      const next = `it can not be understood: ${cause instanceof UserError ? cause.message : cause}`
      return {
        ...found,
        understood: false,
        stalled: true,
        since: undefined,
        lookAt: undefined,
        next,
        messages: {},
      }
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
    const open = (Items as Stored<AnyRecord>[]).flatMap(record => {
      const found = describe(record)
      return found === undefined ? [] : [{ record, found }]
    })
    const wanted = open.filter(({ found }) => all || found.stalled)
    const chosen = wanted.slice(0, limit - report.found.length)
    report.more ||= wanted.length > chosen.length
    if (send) {
      const sendable = chosen.filter(({ found }) => found.understood)
      await sendAll(queues, unfinished.messages(sendable.map(({ record }) => record)))
      const stalled = sendable.filter(({ found }) => found.stalled)
      await seeAgain(
        aws.table(table),
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
  unfinished.lookedAt ? unfinished.lookedAt(record) : record.due === undefined ? undefined : record.checkAt

/** The time, if it is one. */
const timeOf = (time: number | undefined): number | undefined => {
  if (time !== undefined && (typeof time !== 'number' || Number.isNaN(new Date(time).getTime())))
    throw new UserError(`${time} is no time`)
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
