import {
  ConditionalCheckFailedException,
  ProvisionedThroughputExceededException,
} from '@aws-sdk/client-dynamodb'
import type { TableSpec } from '@w3filecoin/runtime/resources'
import type { Timeline } from '@w3filecoin/testing/deterministic'

type Item = Record<string, unknown>

interface Options {
  timeline: Timeline
  tables: Record<string, TableSpec>
  /** Writes that one partition key takes per second. */
  writesPerSecond?: number
  /** Milliseconds that a call takes. */
  latencyMs?: number
  /** Milliseconds of the only processor that a call takes in its function. */
  processorMs?: number
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

/**
 * A stand-in for DynamoDB in simulated time, which refuses writes beyond the rate of a partition key as DynamoDB does: it
 * leaves some items of a batch unprocessed, and throttles the call if it processes none.
 */
export class LimitedDynamo {
  /** Number of calls, of writes, and of calls that were throttled. */
  readonly count = { calls: 0, writes: 0, throttled: 0 }
  readonly #options: Required<Options>
  readonly #items = new Map<string, Map<string, Item>>()
  /** Rows by table, index and partition, in the order of their range key once they are sorted. */
  readonly #partitions = new Map<string, Partition>()
  readonly #tokens = new Map<string, { left: number; at: number }>()
  #processorFreeAt = 0

  constructor(options: Options) {
    this.#options = { writesPerSecond: Infinity, latencyMs: 10, processorMs: 0, ...options }
  }

  /** Writes an item from outside, without a limit. */
  seed(table: string, item: Item): void {
    this.#write(table, this.#idOf(table, item), { revision: 1, v: 1, ...item })
  }

  async send({ constructor: { name }, input }: Command): Promise<unknown> {
    const { timeline, latencyMs, processorMs } = this.#options
    this.count.calls += 1
    this.#processorFreeAt = Math.max(this.#processorFreeAt, timeline.now) + processorMs
    await new Promise<void>(resolve =>
      timeline.after(this.#processorFreeAt - timeline.now + latencyMs, resolve),
    )
    switch (name) {
      case 'GetCommand':
        return { Item: this.#tableOf(input.TableName).get(this.#idOf(input.TableName, input.Key)) }
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

  #batchGet(requests: Record<string, { Keys: Item[] }>) {
    const [[table, { Keys }]] = Object.entries(requests) as [[string, { Keys: Item[] }]]
    const found = Keys.map(key => this.#tableOf(table).get(this.#idOf(table, key)))
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
    if (!holds) throw new ConditionalCheckFailedException({ message: 'The condition failed', $metadata: {} })
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
    if (partition === undefined) return { Items: [] }
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
    return { Items: items, ...(page.length > limit && { LastEvaluatedKey: items.at(-1) }) }
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
    const items = this.#tableOf(table)
    const before = items.get(id)
    if (item === undefined) items.delete(id)
    else items.set(id, item)
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
