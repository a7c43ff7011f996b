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
  /** Writes that one partition key takes per second. */
  writesPerSecond?: number
  /** Milliseconds that a call takes. */
  latencyMs?: number
  /** Milliseconds of the only processor that a call takes in its function. */
  processorMs?: number
  meter?: Pick<Meter, 'add'>
}

/** The rows of one partition. `sorted` is present until the next write. */
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

/** Returns the size of an item, as DynamoDB computes it: names and values, without `undefined`. */
export const sizeOf = (item: Item): number =>
  Object.entries(item).reduce(
    (sum, [name, value]) => (value === undefined ? sum : sum + Buffer.byteLength(name) + sizeOfValue(value)),
    0,
  )

/** Each read returns bytes of its own, as over the network. */
const copyOf = (item: Item): Item =>
  Object.fromEntries(
    Object.entries(item).map(([name, value]) => [name, value instanceof Uint8Array ? value.slice() : value]),
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

/**
 * A stand-in for DynamoDB in simulated time. It counts the units that DynamoDB would bill. It refuses writes beyond the rate
 * of a partition key as DynamoDB does: it leaves some items of a batch unprocessed, and throttles the call if it processes
 * none.
 */
export class SimulatedDynamo {
  /** Number of calls, of writes, and of calls that were throttled; bytes of the items that were written, indexes not counted. */
  readonly count = { calls: 0, writes: 0, throttled: 0, writtenBytes: 0 }
  readonly #options: Required<Options>
  readonly #items = new Map<string, Map<string, Item>>()
  /** Rows by table, index and partition, in the order of their range key once they are sorted. */
  readonly #partitions = new Map<string, Partition>()
  readonly #tokens = new Map<string, { left: number; at: number }>()
  #processorFreeAt = 0
  /** The command and the table or index of the present call, for the meter. */
  #call = ''

  constructor(options: Options) {
    this.#options = {
      writesPerSecond: Infinity,
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
      if (!this.#take(table, target)) return true
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
    if (!this.#take(table, item)) throw this.#throttled()
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
    if (!this.#take(table, key)) throw this.#throttled()
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
    const compare = (a: Item, b: Item): number => {
      const [one, two] = [a[range!] as string | number, b[range!] as string | number]
      if (one !== two) return one < two ? -1 : 1
      return this.#idOf(table, a) < this.#idOf(table, b) ? -1 : 1
    }
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

  /** Takes a write of the partition key of an item; false if the rate is exceeded. */
  #take(table: string, item: Item): boolean {
    const { timeline, writesPerSecond, tables } = this.#options
    if (writesPerSecond === Infinity) return true
    const key = `${table} ${item[tables[table]!.key.hash]}`
    const most = writesPerSecond / 10
    const { left, at } = this.#tokens.get(key) ?? { left: most, at: timeline.now }
    const now = Math.min(most, left + ((timeline.now - at) * writesPerSecond) / 1000)
    this.#tokens.set(key, { left: now >= 1 ? now - 1 : now, at: timeline.now })
    return now >= 1
  }

  #write(table: string, id: string, item: Item | undefined): void {
    this.count.writes += 1
    if (item !== undefined) this.count.writtenBytes += sizeOf(item)
    const items = this.#tableOf(table)
    const before = items.get(id)
    if (item === undefined) items.delete(id)
    else items.set(id, item)
    this.#meterWrite(table, before, item)
    for (const [index, { hash }] of Object.entries(this.#keysOf(table))) {
      const partitionOf = (of: Item | undefined) =>
        of?.[hash] === undefined ? undefined : JSON.stringify([table, index, of[hash]])
      const [from, to] = [partitionOf(before), partitionOf(item)]
      if (from !== undefined) {
        const partition = this.#partitions.get(from)!
        partition.rows.delete(id)
        partition.sorted = undefined
      }
      if (to !== undefined) {
        const partition: Partition = this.#partitions.get(to) ?? { rows: new Map() }
        partition.rows.set(id, item!)
        partition.sorted = undefined
        this.#partitions.set(to, partition)
      }
    }
  }

  #bill(usage: Partial<Usage>): void {
    this.#options.meter.add(usage, { call: this.#call })
  }

  /** A write costs the larger of both sizes, and in each index a unit for an entry that goes and for one that comes. */
  #meterWrite(table: string, before: Item | undefined, item: Item | undefined): void {
    const bytes = Math.max(...[before, item].map(one => (one === undefined ? 0 : sizeOf(one))))
    let indexWrites = 0
    for (const [index, { hash, range }] of Object.entries(this.#options.tables[table]!.indexes ?? {})) {
      const [from, to] = [before, item].map(one =>
        one?.[hash] === undefined || (range !== undefined && one[range] === undefined)
          ? undefined
          : JSON.stringify([index, one[hash], range && one[range]]),
      )
      if (from === to) continue
      indexWrites += Number(from !== undefined) + Number(to !== undefined)
    }
    this.#bill({ writes: writeUnits(bytes) + indexWrites, indexWrites })
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
