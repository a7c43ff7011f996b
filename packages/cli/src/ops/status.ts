import { GetQueueAttributesCommand, type SQSClient } from '@aws-sdk/client-sqs'
import { quotaKey } from '@w3filecoin/aggregator'
import { type Bound, bind, type Tables } from '@w3filecoin/aws'
import {
  ALL_SHARDS,
  type Clock,
  DUE,
  type Environment,
  formatted,
  type HealthRecord,
  listAll,
  MAX_CHECK_AGE_MS,
  type Row,
  type Stored,
  type Unfinished,
} from '@w3filecoin/runtime'
import { CHECK_SECONDS, type Resources, variable } from '@w3filecoin/runtime/resources'
import pMap from 'p-map'
import { describeError } from './describe-error.ts'
import { openDeadLetters } from './dlq.ts'
import { findKept, PAGE_RECORDS, type Partition } from './kept.ts'
import type { AnyQueues, AnyRecord, Service } from './services.ts'
import { requireTables, type Target } from './target.ts'

interface StatusOptions {
  target: Target
  /** The engine for tables, if it is not DynamoDB. */
  tables: Tables | undefined
  client: Pick<SQSClient, 'send'>
  services: readonly Service[]
  /** Records of each table that are read, at least. */
  limit: number
  now: Clock
}

/** The unfinished records of one table at one stage. */
export interface StageStatus {
  service: string
  table: string
  /** `-` in a table without stages. */
  stage: string
  records: number
  /** Whether there are more: the limit was reached. */
  more: boolean
  /** When the oldest of the records that were read reached the stage, in milliseconds since 1970. */
  oldest: number | undefined
  /** Why they wait. */
  why: string
}

/** A group of the aggregator with pieces that wait for an aggregate. */
export interface GroupStatus {
  /** DID of the storefront whose pieces these are. */
  storefront: string
  group: string
  pieces: number
  /** Padded bytes of the pieces, and of those that its next aggregate can hold: `undefined` until the pieces have been counted. */
  bytes: number
  capacity: number | undefined
  /** When the oldest piece was offered, in milliseconds since 1970. */
  oldest: number | undefined
}

/** The peers that operators listed in the table of a service, beside those in its configuration. */
export interface ListedPeers {
  service: string
  /** The first ones by their DIDs. */
  peers: ListedPeer[]
  /** The number of peers that were read, and whether there are more. */
  records: number
  more: boolean
}

/** @example { list: 'storefronts', did: 'did:web:storefront.example', url: 'https://storefront.example', piecesPerDay: 1000, piecesToday: 12 } */
export interface ListedPeer {
  /** The setting whose entry this is. */
  list: string
  did: string
  url?: string
  /** When an operator added or last replaced it, in milliseconds since 1970. */
  addedAt?: number
  /** The bound on its new pieces, and those of today (UTC). Absent if it has no bound: then they are not counted. */
  piecesPerDay?: number
  piecesToday?: number
}

/** The depth of a queue. SQS approximates all numbers. */
export interface QueueStatus {
  service: string
  queue: string
  visible: number
  inFlight: number
  delayed: number
  deadLetters: number
}

/** The last good run of a source of the deal tracker, and its problems. */
export interface SourceStatus {
  source: string
  /** The last good run, in milliseconds since 1970, and the epoch of its chain state. */
  at: number | undefined
  epoch: number | undefined
  /** The problems of its checks. */
  problems: string[]
}

/** The state of a system at one time. */
export interface Status {
  /** The problems, each as a sentence for the operator. Empty if all is well. */
  attention: string[]
  stages: StageStatus[]
  /** The groups, those with most bytes first. */
  groups: GroupStatus[]
  checks: HealthRecord[]
  peers: ListedPeers[]
  sources: SourceStatus[]
  queues: QueueStatus[]
}

/** Peers of one service that are shown. */
const MAX_PEERS = 100
/** Keepers of each kind whose records are read, e.g. groups whose pieces are queued. */
const MAX_KEEPERS = 100
/** Shards of an index, and queues, that are read concurrently. */
const MAX_PARALLEL = 8
/** A record whose check is late by more than this is not swept. */
const GRACE_MS = 300_000

/** Reads the state of services: unfinished records by stage, results of checks, sources, queues. Changes nothing. */
export const readStatus = async ({ services, ...options }: StatusOptions): Promise<Status> => {
  const parts = await pMap(services, service => readService(service, options), { concurrency: MAX_PARALLEL })
  const all = <T>(of: (part: Status) => T[]): T[] => parts.flatMap(of)
  return {
    attention: all(({ attention }) => attention),
    stages: all(({ stages }) => stages),
    groups: all(({ groups }) => groups).toSorted((a, b) => b.bytes - a.bytes),
    checks: all(({ checks }) => checks),
    peers: all(({ peers }) => peers),
    sources: all(({ sources }) => sources),
    queues: all(({ queues }) => queues),
  }
}

type Context = Omit<StatusOptions, 'services' | 'target' | 'tables'> & { aws: Bound<Resources> }

const readService = async (
  service: Service,
  { target, tables, ...options }: Omit<StatusOptions, 'services'>,
): Promise<Status> => {
  const { resources } = service
  const name = resources.service
  const places = await target.placesOf(name)
  requireTables(name, places, ['health', ...Object.keys(service.unfinished)])
  const context: Context = { ...options, aws: bind(resources, places, tables) }
  const checks = await readChecks(service, context)
  const swept = Object.keys(service.unfinished).filter(table => resources.tables[table]?.indexes?.[DUE])
  const [read, queues, sources, peers] = await Promise.all([
    pMap(swept, table => readTable(service, table, checks, context), { concurrency: MAX_PARALLEL }),
    pMap(Object.keys(resources.queues), queue => readQueue(resources, queue, places, options.client), {
      concurrency: MAX_PARALLEL,
    }),
    readSources(service, checks, context),
    // A service of an earlier version has no such table.
    places[variable('table', 'peer')] === undefined ? undefined : readPeers(resources, context),
  ])
  return {
    attention: [
      ...attentionOfChecks(name, checks, options.now()),
      ...read.flatMap(({ attention }) => attention),
      ...queues.flatMap(({ attention }) => attention),
      ...(peers?.attention ?? []),
    ],
    stages: read.flatMap(({ stages }) => stages),
    groups: read.flatMap(({ groups = [] }) => groups),
    checks,
    peers: peers?.status ?? [],
    sources,
    queues: queues.flatMap(({ status }) => status ?? []),
  }
}

const readChecks = ({ resources, tables }: Service, { aws }: Context): Promise<HealthRecord[]> =>
  listAll(formatted(aws.table('health'), tables.health!), resources.service)

const attentionOfChecks = (service: string, checks: readonly HealthRecord[], now: number): string[] => {
  const failed = checks.filter(({ ok }) => !ok).map(({ message }) => `${service}: ${message}`)
  if (checks.length === 0)
    return [`${service}: no check has run yet. Its schedule check runs every ${CHECK_SECONDS} seconds`]
  const last = Math.max(...checks.map(({ checkedAt }) => checkedAt))
  return now - last <= MAX_CHECK_AGE_MS
    ? failed
    : [
        `${service}: its checks ran last at ${new Date(last).toISOString()}. See the log of its schedule check`,
        ...failed,
      ]
}

interface TableStatus {
  stages: StageStatus[]
  groups?: GroupStatus[]
  attention: string[]
}

/** Reads the records of a table that sweeps check, by the index that sweeps read. */
const readTable = async (
  service: Service,
  table: string,
  checks: readonly HealthRecord[],
  context: Context,
): Promise<TableStatus> => {
  const where = `${service.resources.service} ${table}`
  try {
    const { records, more } = await readRecords(service, table, context)
    // Groups of the aggregator never finish. The pieces that wait in them are not in the index.
    if (service.endless.includes(table)) return readPending(records, more, context)
    const unfinished = service.unfinished[table]!
    const stages = [...Map.groupBy(records, ({ stage = '-' }) => stage)].map(
      ([stage, some]): StageStatus => ({
        service: service.resources.service,
        table,
        stage,
        records: some.length,
        more,
        oldest: oldestOf(some.map(unfinished.stageSince)),
        why: explain(unfinished, some, checks),
      }),
    )
    return { stages, attention: attentionOfRecords(where, unfinished, records, checks, context.now()) }
  } catch (cause) {
    return { stages: [], attention: [`${where} cannot be read: ${describeError(cause)}`] }
  }
}

/**
 * Reads the unfinished records in the index that sweeps read, and those that keepers cover, until at least the limit was
 * read.
 */
const readRecords = async (
  service: Service,
  table: string,
  { aws, limit }: Context,
): Promise<{ records: Stored<AnyRecord>[]; more: boolean }> => {
  const { isUnfinished } = service.unfinished[table]!
  const opened = formatted<AnyRecord>(aws.table(table), service.tables[table]!)
  const kept = await findKept(service, table, aws, MAX_KEEPERS)
  /** By key: earlier code had records that keepers cover in the index, too. */
  const records = new Map<string, Stored<AnyRecord>>()
  let { more } = kept
  const readPartition = async ({ index, partition }: Partition): Promise<void> => {
    let after: string | undefined
    do {
      const isFull = records.size >= limit
      if (isFull && more) return
      const page = await opened.find(index, partition, { limit: isFull ? 1 : PAGE_RECORDS, after })
      if (isFull) {
        more ||= page.items.length > 0
        return
      }
      for (const record of await opened.getMany(page.items))
        if (record && isUnfinished(record)) records.set(`${record.id ?? record.name}`, record)
      after = page.next
    } while (after !== undefined)
  }
  const due = ALL_SHARDS.map(partition => ({ index: DUE, partition }))
  await pMap([...due, ...kept.partitions], readPartition, { concurrency: MAX_PARALLEL })
  return { records: [...records.values()], more }
}

/** Counts the pieces that wait for an aggregate, by the tallies of their groups. */
const readPending = async (
  groups: readonly Stored<AnyRecord>[],
  more: boolean,
  { aws }: Context,
): Promise<TableStatus> => {
  const keys = groups.map(({ id }) => ({ id: id as string }))
  const tallies = await aws.table<{ pieces?: number; bytes?: number }>('tally').getMany(keys)
  const waiting = (groups as unknown as readonly GroupFields[]).flatMap(
    ({ storefront, group, count }, n): GroupStatus[] => {
      const { pieces = 0, bytes = 0 } = tallies[n] ?? {}
      if (pieces <= 0) return []
      return [
        {
          storefront,
          group,
          pieces,
          bytes: Math.max(0, bytes),
          capacity: count?.capacity,
          oldest: count?.oldestAt,
        },
      ]
    },
  )
  if (waiting.length === 0) return { stages: [], attention: [] }
  const stage: StageStatus = {
    service: 'aggregator',
    table: 'piece',
    stage: 'pending',
    records: waiting.reduce((sum, { pieces }) => sum + pieces, 0),
    more,
    oldest: oldestOf(waiting.map(({ oldest }) => oldest)),
    why: `${waiting.length === 1 ? 'its group' : `their ${waiting.length} groups`} must have enough pieces, or have waited long enough`,
  }
  return { stages: [stage], groups: waiting, attention: [] }
}

/** The part of a group's record that is shown. */
interface GroupFields {
  storefront: string
  group: string
  count?: { oldestAt?: number; capacity?: number }
}

/** Reads the peers in the table of a service, until at least the limit was read, and counts their pieces of today. */
const readPeers = async (
  { service }: Resources,
  { aws, limit, now }: Context,
): Promise<{ status: ListedPeers[]; attention: string[] }> => {
  try {
    const rows: Row[] = []
    let more = false
    for await (const page of aws.scan('peer')) {
      more = rows.length >= limit && page.length > 0
      if (more) break
      rows.push(...page)
    }
    const peers = rows
      .map(peerOf)
      .toSorted((a, b) => (a.did < b.did ? -1 : 1))
      .slice(0, MAX_PEERS)
    const bounded = peers.filter(({ piecesPerDay }) => piecesPerDay !== undefined)
    if (bounded.length > 0) {
      const keys = bounded.map(({ did }) => quotaKey(did, now()))
      const counts = await aws.table<{ pieces?: number }>('quota').getMany(keys)
      for (const [n, peer] of bounded.entries()) peer.piecesToday = counts[n]?.pieces ?? 0
    }
    return {
      status: rows.length === 0 ? [] : [{ service, peers, records: rows.length, more }],
      attention: [],
    }
  } catch (cause) {
    return { status: [], attention: [`${service} peer cannot be read: ${describeError(cause)}`] }
  }
}

/** Fields of another type are left out: an invalid row is shown too. */
const peerOf = ({ list, did, url, addedAt, piecesPerDay }: Row): ListedPeer => ({
  list: `${list}`,
  did: `${did}`,
  ...(typeof url === 'string' && { url }),
  ...(typeof addedAt === 'number' && { addedAt }),
  ...(typeof piecesPerDay === 'number' && { piecesPerDay }),
})

const oldestOf = (times: readonly (number | undefined)[]): number | undefined => {
  const known = times.filter(time => time !== undefined)
  return known.length === 0 ? undefined : known.reduce((a, b) => Math.min(a, b))
}

/**
 * Explains why the records of a stage wait: by a failing check of the party that must act next, by the most frequent problem, or
 * by their next step.
 */
const explain = (
  { describeNext, trouble, waitsOn }: Unfinished<AnyRecord, AnyQueues>,
  records: readonly AnyRecord[],
  checks: readonly HealthRecord[],
): string => {
  const parties = new Set(records.flatMap(record => waitsOn?.(record) ?? []))
  const failed = checks.find(({ ok, setting }) => !ok && setting !== undefined && parties.has(setting))
  if (failed) return `${failed.setting}: ${failed.message}`
  const troubles = countBy(records.flatMap(record => trouble?.(record) ?? []))
  const [problem, times] = troubles[0] ?? []
  if (problem !== undefined) return times === records.length ? problem : `${problem} (${times} of them)`
  return countBy(records.map(describeNext))[0]![0]
}

/** Returns the distinct texts with their numbers, the most frequent first. */
const countBy = (texts: readonly string[]): [text: string, times: number][] =>
  [...Map.groupBy(texts, text => text)]
    .map(([text, all]): [string, number] => [text, all.length])
    .toSorted(([, a], [, b]) => b - a)

const attentionOfRecords = (
  where: string,
  { needsOperator, reportedBy, describeNext }: Unfinished<AnyRecord, AnyQueues>,
  records: readonly AnyRecord[],
  checks: readonly HealthRecord[],
  now: number,
): string[] => {
  const overdue = records.filter(({ checkAt = now }) => checkAt < now - GRACE_MS)
  const failed = new Set(checks.flatMap(({ ok, name }) => (ok ? [] : [name])))
  const stuck = countBy(
    records
      .filter(record => needsOperator?.(record) && !failed.has(reportedBy?.(record) ?? ''))
      .map(describeNext),
  )
  return [
    ...stuck.map(([reason, times]) => `${where}: ${countOf(times, 'record')} cannot go on: ${reason}`),
    ...(overdue.length === 0
      ? []
      : [
          `${where}: ${countOf(overdue.length, 'record')} overdue: the schedule sweep does not run, or fails. See its log, then npm run ops -- reconcile`,
        ]),
  ]
}

const countOf = (n: number, what: string) => `${n} ${what}${n === 1 ? '' : 's'}`

/** The attributes of SQS, by field. It has none for the age of the oldest message: see the alarm `…Late`. */
const ATTRIBUTES = {
  visible: 'ApproximateNumberOfMessages',
  inFlight: 'ApproximateNumberOfMessagesNotVisible',
  delayed: 'ApproximateNumberOfMessagesDelayed',
} as const

const readQueue = async (
  resources: Resources,
  queue: string,
  places: Environment,
  client: Pick<SQSClient, 'send'>,
): Promise<{ status?: QueueStatus; attention: string[] }> => {
  const { service } = resources
  const readDepth = async () => {
    const { Attributes = {} } = await client.send(
      new GetQueueAttributesCommand({
        QueueUrl: places[variable('queue', queue)],
        AttributeNames: Object.values(ATTRIBUTES),
      }),
    )
    const numberOf = (field: keyof typeof ATTRIBUTES) => Number(Attributes[ATTRIBUTES[field]] ?? 0)
    return { visible: numberOf('visible'), inFlight: numberOf('inFlight'), delayed: numberOf('delayed') }
  }
  try {
    const dead = openDeadLetters({ resources, queue }, places, client)
    const [depth, deadLetters] = await Promise.all([readDepth(), dead.count()])
    return {
      status: { service, queue, ...depth, deadLetters },
      attention:
        deadLetters === 0
          ? []
          : [
              `${service} ${queue}: ${countOf(deadLetters, 'dead letter')}. See npm run ops -- dlq --service ${service} --queue ${queue}`,
            ],
    }
  } catch (cause) {
    return { attention: [`${service} ${queue}: the queue cannot be read: ${describeError(cause)}`] }
  }
}

interface Source {
  name: string
  good?: { at: number; epoch: number }
}

/** Reads the sources that the checks of the deal tracker name. */
const readSources = async (
  { resources, tables }: Service,
  checks: readonly HealthRecord[],
  { aws }: Context,
): Promise<SourceStatus[]> => {
  if (!('source' in resources.tables)) return []
  const rows = checks.filter(({ check, subject }) => check === 'source' && subject !== undefined)
  const names = [...new Set(rows.map(({ subject }) => subject as string))]
  const opened = formatted<Source>(aws.table('source'), tables.source!)
  const records = await opened.getMany(names.map(name => ({ name })))
  return names.map((source, n) => ({
    source,
    at: records[n]?.good?.at,
    epoch: records[n]?.good?.epoch,
    problems: rows.flatMap(({ ok, subject, problem }) =>
      !ok && subject === source && problem !== undefined ? [problem] : [],
    ),
  }))
}
