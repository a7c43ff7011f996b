import {
  ConditionalCheckFailedException,
  ProvisionedThroughputExceededException,
} from '@aws-sdk/client-dynamodb'
import { marshall } from '@aws-sdk/util-dynamodb'
import type { TableSpec } from '@w3filecoin/runtime/resources'
import type { Timeline } from '@w3filecoin/testing/deterministic'
import type { Meter, Usage } from './meter.ts'

type Item = Record<string, unknown>

interface Options {
  timeline: Timeline
  /** By name. */
  tables: Record<string, TableSpec>
  /** Write units that one partition key takes per second, at a table or an index. */
  writesPerSecond?: number
  /** Write units that a whole table takes per second, and each of its indexes. */
  tableWritesPerSecond?: number
  /** Milliseconds that a call takes. */
  latencyMs?: number
  /** Milliseconds of the only processor that a call takes in its function. */
  processorMs?: number
  meter?: Pick<Meter, 'add'>
}

/** The rows of one partition. `sorted` has them in the order of their range key, once a query has read them. */
interface Partition {
  rows: Map<string, Item>
  sorted?: Item[] | undefined
}

/** The commands of DynamoDB's document client that `DynamoTable` sends. */
interface Command {
  constructor: { name: string }
  // biome-ignore lint/suspicious/noExplicitAny: each command has its own input
  input: any
}

/** The usual size of an entry of an index: two texts of 43 characters, a time, and their names. */
const INDEX_ENTRY_BYTES = 120

/** Bytes that DynamoDB bills as one write unit, and as one read unit of a strongly consistent read. */
const WRITE_UNIT_BYTES = 1024
const READ_UNIT_BYTES = 4096

const writeUnits = (bytes: number): number => Math.max(1, Math.ceil(bytes / WRITE_UNIT_BYTES))
const readUnits = (bytes: number): number => Math.max(1, Math.ceil(bytes / READ_UNIT_BYTES))

/** A write costs the larger of both sizes. */
const unitsOf = (before: Item | undefined, item: Item | undefined): number =>
  writeUnits(Math.max(...[before, item].map(one => (one === undefined ? 0 : sizeOf(one)))))

/** Returns the size of an item, as DynamoDB computes it: names and values, without `undefined`. */
export const sizeOf = (item: Item): number =>
  Object.entries(item).reduce(
    (sum, [name, value]) => (value === undefined ? sum : sum + Buffer.byteLength(name) + sizeOfValue(value)),
    0,
  )

/**
 * Returns an item with its own bytes, as over the network. A stored item must not keep the buffer of its writer in memory, of
 * which its bytes may be a small part.
 */
const copyOf = (item: Item): Item =>
  Object.fromEntries(
    Object.entries(item).map(([name, value]) => [
      name,
      value instanceof Uint8Array ? new Uint8Array(value) : value,
    ]),
  )

const sizeOfValue = (value: unknown): number => {
  switch (typeof value) {
    case 'string':
      return Buffer.byteLength(value)
    case 'number':
      // Two digits a byte, and one byte more; zeros at both ends do not count.
      return Math.ceil(`${value}`.replace(/^-?0*|\.|0*$/g, '').length / 2) + 1
    case 'boolean':
      return 1
    default:
      if (value instanceof Uint8Array) return value.byteLength
      if (Array.isArray(value)) return value.reduce((sum, one) => sum + 1 + sizeOfValue(one), 3)
      return 3 + Object.keys(value as Item).length + sizeOf(value as Item)
  }
}

/** Returns the place of a row among sorted rows: its own, or that of the first row after it. */
const placeOf = (row: Item, sorted: readonly Item[], compare: (one: Item, other: Item) => number): number => {
  let first = 0
  for (let left = sorted.length; first < left; ) {
    const middle = (first + left) >> 1
    if (compare(sorted[middle]!, row) < 0) first = middle + 1
    else left = middle
  }
  return first
}

/** Rates of partition keys are kept for so many keys before those that are full again are forgotten. */
const MAX_RATES = 20_000

/** The load of a partition key of a table or an index. */
export interface PartitionLoad {
  /** Write units. */
  units: number
  /** Writes that were refused because of it. */
  refused: number
}

/**
 * A stand-in for DynamoDB in simulated time. It counts the units that DynamoDB would bill. It refuses writes beyond the rate
 * of a partition key as DynamoDB does: it leaves some items of a batch unprocessed, and throttles the call if it processes
 * none. The rate counts units of one kilobyte, at the table and at each of its indexes: a write waits for the slowest of them.
 *
 * Not modelled: limits of reads and of the account; the capacity of an on-demand table, which grows with its load; the split of a
 * hot partition; the delay of an index, which DynamoDB updates after the table, so that an index throttles a table only after
 * a while.
 */
export class SimulatedDynamo {
  /** Number of calls, of writes, and of calls that were throttled; bytes of the items that were written, indexes not counted, and of the largest one. */
  readonly count = { calls: 0, writes: 0, throttled: 0, writtenBytes: 0, largestBytes: 0 }
  readonly #options: Required<Options>
  readonly #items = new Map<string, Map<string, Item>>()
  /** Rows by table, index and partition, in the order of their range key once they are sorted. */
  readonly #partitions = new Map<string, Partition>()
  /** Called with each write: the item before it and after it. */
  onWrite: (table: string, before: Item | undefined, item: Item | undefined) => void = () => {}
  /** Counts the load of each partition key while it is present, e.g. `storefront-piece.memberOf kD3…#7`, and of each table and index. */
  loads: Map<string, PartitionLoad> | undefined
  readonly #tokens = new Map<string, { left: number; at: number; perSecond: number }>()
  #processorFreeAt = 0
  /** The command and the table or index of the present call, for the meter. */
  #call = ''

  constructor(options: Options) {
    this.#options = {
      writesPerSecond: Infinity,
      tableWritesPerSecond: Infinity,
      latencyMs: 10,
      processorMs: 0,
      meter: { add: () => {} },
      ...options,
    }
  }

  /** Writes an item from outside, without a limit. */
  seed(table: string, item: Item): void {
    this.#write(table, this.#idOf(table, item), { revision: 1, v: 1, ...item })
  }

  /** The items of a table. */
  items(table: string): Iterable<Item> {
    return this.#tableOf(table).values()
  }

  async send({ constructor: { name }, input }: Command): Promise<unknown> {
    const { timeline, latencyMs, processorMs } = this.#options
    this.count.calls += 1
    this.#processorFreeAt = Math.max(this.#processorFreeAt, timeline.now) + processorMs
    await new Promise<void>(resolve =>
      timeline.after(this.#processorFreeAt - timeline.now + latencyMs, resolve),
    )
    const table = input.TableName ?? Object.keys(input.RequestItems)[0]
    this.#call = [name.replace('Command', ''), table, input.IndexName].filter(Boolean).join(' ')
    switch (name) {
      case 'GetCommand':
        return { Item: this.#read(input.TableName, input.Key) }
      case 'BatchGetCommand':
        return this.#batchGet(input.RequestItems)
      case 'BatchWriteCommand':
        return this.#batchWrite(input.RequestItems)
      case 'PutCommand':
        return this.#put(input)
      case 'UpdateCommand':
        return this.#update(input)
      case 'QueryCommand':
        return this.#query(input)
      default:
        throw new TypeError(`${name} is not simulated`)
    }
  }

  /** Reads an item strongly consistent. */
  #read(table: string, key: Item): Item | undefined {
    const item = this.#tableOf(table).get(this.#idOf(table, key))
    this.#bill({ reads: readUnits(item === undefined ? 0 : sizeOf(item)) })
    return item && copyOf(item)
  }

  #batchGet(requests: Record<string, { Keys: Item[] }>) {
    const [[table, { Keys }]] = Object.entries(requests) as [[string, { Keys: Item[] }]]
    const found = Keys.map(key => this.#read(table, key))
    return { Responses: { [table]: found.filter(item => item !== undefined) }, UnprocessedKeys: {} }
  }

  #batchWrite(requests: Record<string, { PutRequest?: { Item: Item }; DeleteRequest?: { Key: Item } }[]>) {
    const [[table, writes]] = Object.entries(requests) as [[string, (typeof requests)[string]]]
    const rest = writes.filter(({ PutRequest, DeleteRequest }) => {
      const target = (PutRequest?.Item ?? DeleteRequest?.Key) as Item
      if (!this.#take(table, target, PutRequest?.Item)) return true
      this.#write(table, this.#idOf(table, target), PutRequest?.Item)
      return false
    })
    if (rest.length === writes.length) throw this.#throttled()
    return { UnprocessedItems: rest.length > 0 ? { [table]: rest } : {} }
  }

  #put({
    TableName: table,
    Item: item,
    ConditionExpression: condition,
    ExpressionAttributeValues: values,
  }: {
    TableName: string
    Item: Item
    ConditionExpression: string
    ExpressionAttributeValues?: { ':v': number }
  }) {
    const id = this.#idOf(table, item)
    const existing = this.#tableOf(table).get(id)
    if (!this.#take(table, item, item)) throw this.#throttled()
    const holds = condition.startsWith('attribute_not_exists')
      ? existing === undefined
      : existing?.revision === values?.[':v']
    if (!holds) {
      this.#bill({ writes: writeUnits(existing === undefined ? 0 : sizeOf(existing)) })
      throw new ConditionalCheckFailedException({
        message: 'The condition failed',
        $metadata: {},
        ...(existing !== undefined && { Item: marshall(existing, { removeUndefinedValues: true }) }),
      })
    }
    this.#write(table, id, item)
    return {}
  }

  /** An update of `DynamoTable.add`: `#a0`, `#a1`, … name counters. */
  #update({
    TableName: table,
    Key: key,
    ExpressionAttributeNames: names,
    ExpressionAttributeValues: values,
  }: {
    TableName: string
    Key: Item
    ExpressionAttributeNames: Record<string, string>
    ExpressionAttributeValues: Record<string, unknown>
  }) {
    const id = this.#idOf(table, key)
    const item: Item = { ...key, ...this.#tableOf(table).get(id) }
    for (const [placeholder, name] of Object.entries(names)) {
      const value = values[placeholder.replace('#', ':')]
      if (placeholder.startsWith('#a')) item[name] = Number(item[name] ?? 0) + Number(value)
      else item[name] ??= value
    }
    if (!this.#take(table, key, item)) throw this.#throttled()
    this.#write(table, id, item)
    return { Attributes: item }
  }

  #query({
    TableName: table,
    IndexName: index,
    ExpressionAttributeValues: values,
    Limit: limit,
    ExclusiveStartKey: start,
  }: {
    TableName: string
    IndexName?: string
    ExpressionAttributeValues: { ':h': string; ':from'?: number; ':upTo'?: number }
    Limit: number
    ExclusiveStartKey?: Item
  }) {
    const { range } = this.#keysOf(table)[index ?? '']!
    const compare = this.#orderOf(table, range)
    const partition = this.#partitions.get(JSON.stringify([table, index ?? '', values[':h']]))
    if (partition === undefined) {
      this.#meterQuery(index, [])
      return { Items: [] }
    }
    partition.sorted ??= [...partition.rows.values()].sort(compare)
    const { sorted } = partition
    const from = values[':from']
    let first = 0
    for (let left = sorted.length; first < left; ) {
      const middle = (first + left) >> 1
      const row = sorted[middle]!
      const isBefore =
        start === undefined
          ? from !== undefined && (row[range!] as number) < from
          : this.#idOf(table, row) === this.#idOf(table, start) || compare(row, start) < 0
      if (isBefore) first = middle + 1
      else left = middle
    }
    const upTo = values[':upTo'] ?? Infinity
    const page = sorted
      .slice(first, first + limit + 1)
      .filter(row => !(typeof row[range!] === 'number' && (row[range!] as number) > upTo))
    const items = page.slice(0, limit)
    this.#meterQuery(index, items)
    return { Items: items.map(copyOf), ...(page.length > limit && { LastEvaluatedKey: items.at(-1) }) }
  }

  /** Returns the order of the rows of a partition: by their range key, and by their key in the table. */
  #orderOf(table: string, range: string | undefined): (one: Item, other: Item) => number {
    return (one, other) => {
      const [a, b] = [one[range!] as string | number, other[range!] as string | number]
      if (a !== b) return a < b ? -1 : 1
      const [first, second] = [this.#idOf(table, one), this.#idOf(table, other)]
      if (first === second) return 0
      return first < second ? -1 : 1
    }
  }

  /** An index has keys only, and is read eventually consistent, which costs half. */
  #meterQuery(index: string | undefined, items: readonly Item[]): void {
    const bytes = items.reduce(
      (sum, item) => sum + (index === undefined ? sizeOf(item) : INDEX_ENTRY_BYTES),
      0,
    )
    this.#bill({ reads: readUnits(bytes) / (index === undefined ? 1 : 2) })
  }

  #throttled() {
    this.count.throttled += 1
    return new ProvisionedThroughputExceededException({ message: 'The rate is exceeded', $metadata: {} })
  }

  /** Takes the units of a write from the partition keys and tables that it touches; false if the rate of one is exceeded. */
  #take(table: string, key: Item, item: Item | undefined): boolean {
    const { timeline, writesPerSecond, tableWritesPerSecond, tables } = this.#options
    if (writesPerSecond === Infinity && tableWritesPerSecond === Infinity && this.loads === undefined)
      return true
    const before = this.#tableOf(table).get(this.#idOf(table, key))
    const wanted = new Map<string, { units: number; perSecond: number }>()
    const want = (index: string, partition: unknown, units: number) => {
      for (const [name, perSecond] of [
        [`${table}${index} ${partition}`, writesPerSecond],
        [`${table}${index}`, tableWritesPerSecond],
      ] as const)
        wanted.set(name, { units: (wanted.get(name)?.units ?? 0) + units, perSecond })
    }
    want('', key[tables[table]!.key.hash], unitsOf(before, item))
    for (const { index, partition } of this.#movedEntries(table, before, item))
      want(`.${index}`, partition, 1)
    // DynamoDB accepts a write while any capacity is left, also a write that is larger than the rest.
    const refusing = [...wanted].filter(([name, { perSecond }]) => this.#tokensOf(name, perSecond) < 1)
    for (const [name] of refusing) this.#loadOf(name).refused += 1
    if (refusing.length > 0) return false
    for (const [name, { units, perSecond }] of wanted) {
      if (perSecond !== Infinity)
        this.#tokens.set(name, { left: this.#tokensOf(name, perSecond) - units, at: timeline.now, perSecond })
      this.#loadOf(name).units += units
    }
    if (this.#tokens.size > MAX_RATES) this.#forgetFullTokens()
    return true
  }

  /** DynamoDB lets a partition use its rate unevenly within a second; this does so within a tenth of one. */
  #tokensOf(name: string, perSecond: number): number {
    const { now } = this.#options.timeline
    const { left, at } = this.#tokens.get(name) ?? { left: Infinity, at: now }
    return Math.min(perSecond / 10, left + ((now - at) * perSecond) / 1000)
  }

  #forgetFullTokens(): void {
    for (const [name, { perSecond }] of this.#tokens)
      if (this.#tokensOf(name, perSecond) >= perSecond / 10) this.#tokens.delete(name)
  }

  #loadOf(name: string): PartitionLoad {
    const load = this.loads?.get(name) ?? { units: 0, refused: 0 }
    this.loads?.set(name, load)
    return load
  }

  /** The partition keys of indexes that an entry leaves or enters, one for each entry. */
  #movedEntries(
    table: string,
    before: Item | undefined,
    item: Item | undefined,
  ): { index: string; partition: unknown }[] {
    return Object.entries(this.#options.tables[table]!.indexes ?? {}).flatMap(([index, { hash, range }]) => {
      const [from, to] = [before, item].map(one =>
        one?.[hash] === undefined || (range !== undefined && one[range] === undefined)
          ? undefined
          : { index, partition: one[hash], at: range && one[range] },
      )
      if (from?.partition === to?.partition && from?.at === to?.at) return []
      return [from, to].filter(entry => entry !== undefined)
    })
  }

  #write(table: string, id: string, written: Item | undefined): void {
    const item = written && copyOf(written)
    this.count.writes += 1
    const bytes = item === undefined ? 0 : sizeOf(item)
    this.count.writtenBytes += bytes
    this.count.largestBytes = Math.max(this.count.largestBytes, bytes)
    const items = this.#tableOf(table)
    const before = items.get(id)
    if (item === undefined) items.delete(id)
    else items.set(id, item)
    this.#meterWrite(table, before, item)
    this.onWrite(table, before, item)
    for (const [index, { hash, range }] of Object.entries(this.#keysOf(table))) {
      const partitionOf = (of: Item | undefined) =>
        of?.[hash] === undefined ? undefined : JSON.stringify([table, index, of[hash]])
      const [from, to] = [partitionOf(before), partitionOf(item)]
      const compare = this.#orderOf(table, range)
      if (from !== undefined) {
        const partition = this.#partitions.get(from)!
        partition.rows.delete(id)
        partition.sorted?.splice(placeOf(before!, partition.sorted, compare), 1)
        if (partition.rows.size === 0) this.#partitions.delete(from)
      }
      if (to !== undefined) {
        const partition: Partition = this.#partitions.get(to) ?? { rows: new Map() }
        partition.rows.set(id, item!)
        partition.sorted?.splice(placeOf(item!, partition.sorted, compare), 0, item!)
        this.#partitions.set(to, partition)
      }
    }
  }

  #bill(usage: Partial<Usage>): void {
    this.#options.meter.add(usage, { call: this.#call })
  }

  /** A write costs the larger of both sizes, and in each index a unit for an entry that goes and for one that comes. */
  #meterWrite(table: string, before: Item | undefined, item: Item | undefined): void {
    const indexWrites = this.#movedEntries(table, before, item).length
    this.#bill({ writes: unitsOf(before, item) + indexWrites, indexWrites })
  }

  /** Bytes of the items of each table. */
  storedBytes(): Record<string, number> {
    const bytesOf = (items: Map<string, Item>) =>
      [...items.values()].reduce((sum, item) => sum + sizeOf(item), 0)
    return Object.fromEntries([...this.#items].map(([table, items]) => [table, bytesOf(items)]))
  }

  #tableOf(table: string): Map<string, Item> {
    const items = this.#items.get(table) ?? new Map<string, Item>()
    this.#items.set(table, items)
    return items
  }

  /** The keys of a table, under the name '', and of its indexes. */
  #keysOf(table: string): Record<string, { hash: string; range?: string }> {
    const { key, indexes = {} } = this.#options.tables[table]!
    return { '': key, ...indexes }
  }

  #idOf(table: string, item: Item): string {
    const { hash, range } = this.#options.tables[table]!.key
    return JSON.stringify([item[hash], range === undefined ? null : item[range]])
  }
}
