import { type DynamoDBDocumentClient, paginateScan } from '@aws-sdk/lib-dynamodb'
import { bind } from '@w3filecoin/aws'
import { variable } from '@w3filecoin/aws/resources'
import { Trouble } from '@w3filecoin/local/trouble'
import {
  type Clock,
  dueAt,
  type Messages,
  type Stored,
  sendAll,
  type Table,
  type Unfinished,
} from '@w3filecoin/service'
import pMap from 'p-map'
import type { AnyQueues, AnyRecord, Service } from './services.ts'
import type { Target } from './target.ts'

interface ReconcileOptions {
  target: Target
  dynamodb: DynamoDBDocumentClient
  services: readonly Service[]
  /** Whether what gets stalled records moving is sent; else nothing changes. */
  send: boolean
  /** For how long, in milliseconds, a record may be overdue: the sweep will come by. */
  grace: number
  /** The most records of one table. */
  limit: number
  now: Clock
}

/** An unfinished record that nobody looks at in time. */
export interface StalledRecord {
  key: string
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
  /** Records that were read, and how many of them are unfinished. */
  read: number
  unfinished: number
  stalled: StalledRecord[]
  /** Whether there may be more than the limit. */
  more: boolean
}

/** Reads whole tables, and tells of each which of its records are unfinished and nobody looks at in time. */
export async function* reconcile({ services, ...options }: ReconcileOptions): AsyncGenerator<TableReport> {
  for (const service of services)
    for (const table of Object.keys(service.unfinished)) yield readTable(service, table, options)
}

const readTable = async (
  service: Service,
  table: string,
  { target, dynamodb, send, grace, limit, now }: Omit<ReconcileOptions, 'services'>,
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
  const queues = Object.fromEntries(
    Object.keys(resources.queues).map(name => [name, aws.queue(name, service.fifo[name])]),
  )
  const keyOf = (record: AnyRecord) => `${record[resources.tables[table]!.key.hash as 'id' | 'name']}`

  const report: TableReport = {
    service: resources.service,
    table,
    read: 0,
    unfinished: 0,
    stalled: [],
    more: false,
  }
  // Not by the index, which lacks the very records that no sweep sees.
  for await (const { Items = [] } of paginateScan(
    { client: dynamodb },
    { TableName, ConsistentRead: true },
  )) {
    const open = (Items as Stored<AnyRecord>[]).filter(record => unfinished.is(record))
    const stalled = open.filter(record => (lookAt(unfinished, record) ?? 0) < now() - grace)
    const room = limit - report.stalled.length
    report.more ||= stalled.length > room
    const chosen = stalled.slice(0, room)
    if (send) {
      await sendAll(queues, unfinished.messages(chosen))
      await seeAgain(aws.table(table), chosen, now() + grace)
    }
    report.read += Items.length
    report.unfinished += open.length
    for (const record of chosen)
      report.stalled.push({
        key: keyOf(record),
        stage: record.stage,
        since: unfinished.since(record),
        lookAt: lookAt(unfinished, record),
        next: unfinished.next(record),
        messages: Object.fromEntries(
          Object.entries(unfinished.messages([record])).filter(([, some]) => some && some.length > 0),
        ),
      })
  }
  return report
}

/** When somebody looks at the record; `undefined` where it is not in the index that sweeps go by. */
const lookAt = (unfinished: Unfinished<AnyRecord, AnyQueues>, record: AnyRecord): number | undefined =>
  unfinished.lookedAt ? unfinished.lookedAt(record) : record.due === undefined ? undefined : record.checkAt

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
