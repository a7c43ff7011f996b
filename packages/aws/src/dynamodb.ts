import { ConditionalCheckFailedException, DynamoDBClient } from '@aws-sdk/client-dynamodb'
import {
  BatchGetCommand,
  BatchWriteCommand,
  DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  paginateScan,
  QueryCommand,
  UpdateCommand,
} from '@aws-sdk/lib-dynamodb'
import { unmarshall } from '@aws-sdk/util-dynamodb'
import type {
  FindOptions,
  Key,
  ListOptions,
  Page,
  RecordExists,
  Result,
  RevisionConflict,
  Row,
  Stored,
  Table,
} from '@w3filecoin/runtime'
import { batchesOf } from '@w3filecoin/runtime'
import type { TableSpec } from '@w3filecoin/runtime/resources'
import pMap from 'p-map'
import { startPatience } from './deadline.ts'
import type { Segment, Tables } from './tables.ts'

/** The limits of DynamoDB for the items of one batch. */
const MAX_READ_ITEMS = 100
const MAX_WRITE_ITEMS = 25
/** The greatest number of parallel calls in one `getMany` or `putMany`. */
const MAX_PARALLEL_CALLS = 4
/** Time for which an addition waits for others to share its call: handlers of one message make theirs at about the same time. */
const LINGER_MS = 5
/** The longest wait between two calls for the items of one batch. */
const MAX_BACK_OFF_MS = 3_000

/** The tables in DynamoDB. The AWS SDK reads region, credentials and endpoint from the environment. */
export class DynamoTables implements Tables {
  readonly #client = DynamoDBDocumentClient.from(new DynamoDBClient({}), {
    marshallOptions: { removeUndefinedValues: true },
  })

  open<R extends object>(name: () => string, spec: TableSpec): Table<R> {
    return new DynamoTable<R>({ client: this.#client, name, spec })
  }

  async *scan(
    name: string,
    { segment, segments }: Segment = { segment: 0, segments: 1 },
  ): AsyncGenerator<Row[]> {
    const part = { Segment: segment, TotalSegments: segments }
    const pages = paginateScan({ client: this.#client }, { TableName: name, ConsistentRead: true, ...part })
    for await (const { Items = [] } of pages) yield Items
  }
}

interface DynamoTableOptions {
  client: DynamoDBDocumentClient
  /** Called on each use: the environment of a function names only the tables that it uses. */
  name: () => string
  spec: TableSpec
}

/** An addition to the counters of a record that waits for its call. */
interface Addition<R> {
  counters: Record<string, number>
  resolve: (record: R) => void
  reject: (reason: Error) => void
}

/** A table of records in DynamoDB. See `Table` for its contract. */
export class DynamoTable<R extends object> implements Table<R> {
  readonly #client: DynamoDBDocumentClient
  readonly #locate: () => string
  readonly #spec: TableSpec
  /** The additions of the last moment, by key and initial attributes. */
  readonly #additions = new Map<string, Addition<R>[]>()

  constructor({ client, name, spec }: DynamoTableOptions) {
    this.#client = client
    this.#locate = name
    this.#spec = spec
  }

  get #name(): string {
    return this.#locate()
  }

  async get(key: Key): Promise<Stored<R> | undefined> {
    const { Item } = await this.#client.send(
      new GetCommand({ TableName: this.#name, Key: key, ConsistentRead: true }),
    )
    return Item as Stored<R> | undefined
  }

  async getMany(keys: readonly Key[]): Promise<(Stored<R> | undefined)[]> {
    const found = new Map<string, Stored<R>>()
    const wanted = [...new Map(keys.map(key => [this.#id(key), key])).values()]
    await pMap(batchesOf(wanted, MAX_READ_ITEMS), Keys => this.#batchGet(Keys, found), {
      concurrency: MAX_PARALLEL_CALLS,
    })
    return keys.map(key => found.get(this.#id(key)))
  }

  async insert(record: R): Promise<Result<Stored<R>, RecordExists<R>>> {
    const item: Stored<R> = { ...record, revision: 1 }
    const existing = await this.#putIf(item, {
      condition: 'attribute_not_exists(#a)',
      name: this.#spec.key.hash,
    })
    return existing === undefined
      ? { ok: item }
      : {
          error: {
            name: 'RecordExists',
            message: `${this.#name} already has a record with this key`,
            record: existing as Stored<R>,
          },
        }
  }

  async replace(record: Stored<R>): Promise<Result<Stored<R>, RevisionConflict>> {
    const item: Stored<R> = { ...record, revision: record.revision + 1 }
    const existing = await this.#putIf(item, {
      condition: '#a = :v',
      name: 'revision',
      value: record.revision,
    })
    return existing === undefined
      ? { ok: item }
      : {
          error: {
            name: 'RevisionConflict',
            message: `The record in ${this.#name} was changed concurrently`,
          },
        }
  }

  async putMany(records: readonly R[]): Promise<void> {
    await this.#batchWrite(records.map(record => ({ PutRequest: { Item: { ...record, revision: 1 } } })))
  }

  async removeMany(keys: readonly Key[]): Promise<void> {
    await this.#batchWrite(keys.map(key => ({ DeleteRequest: { Key: key } })))
  }

  add(key: Key, counters: Record<string, number>, initial: Partial<R> = {}): Promise<R> {
    return new Promise((resolve, reject) => {
      const id = JSON.stringify([this.#id(key), initial])
      const shared = this.#additions.get(id)
      if (shared !== undefined) {
        shared.push({ counters, resolve, reject })
        return
      }
      const additions: Addition<R>[] = [{ counters, resolve, reject }]
      this.#additions.set(id, additions)
      setTimeout(() => {
        this.#additions.delete(id)
        void this.#addAll(key, additions, initial)
      }, LINGER_MS)
    })
  }

  /** Makes additions in one call. Each gets the record as if they had been made one after the other. */
  async #addAll(key: Key, additions: readonly Addition<R>[], initial: Partial<R>): Promise<void> {
    const sum: Record<string, number> = {}
    for (const { counters } of additions)
      for (const [name, number] of Object.entries(counters)) sum[name] = (sum[name] ?? 0) + number
    try {
      const after = { ...(await this.#add(key, sum, initial)) } as R & Record<string, number>
      for (const { counters, resolve } of additions.toReversed()) {
        resolve({ ...after })
        for (const [name, number] of Object.entries(counters))
          Object.assign(after, { [name]: (after[name] as number) - number })
      }
    } catch (cause) {
      for (const { reject } of additions) reject(cause as Error)
    }
  }

  async #add(key: Key, counters: Record<string, number>, initial: Partial<R>): Promise<R> {
    const added = Object.entries(counters)
    const set = Object.entries(initial).filter(([, value]) => value !== undefined)
    const { Attributes } = await this.#client.send(
      new UpdateCommand({
        TableName: this.#name,
        Key: key,
        UpdateExpression: [
          `ADD ${added.map((_, n) => `#a${n} :a${n}`).join(', ')}`,
          ...(set.length === 0
            ? []
            : [`SET ${set.map((_, n) => `#s${n} = if_not_exists(#s${n}, :s${n})`).join(', ')}`]),
        ].join(' '),
        ExpressionAttributeNames: Object.fromEntries([
          ...added.map(([name], n) => [`#a${n}`, name]),
          ...set.map(([name], n) => [`#s${n}`, name]),
        ]),
        ExpressionAttributeValues: Object.fromEntries([
          ...added.map(([, value], n) => [`:a${n}`, value]),
          ...set.map(([, value], n) => [`:s${n}`, value]),
        ]),
        ReturnValues: 'ALL_NEW',
      }),
    )
    return Attributes as R
  }

  async list(partition: string, { limit, after }: ListOptions): Promise<Page<Stored<R>>> {
    const { hash, range } = this.#spec.key as { hash: string; range: string }
    const { Items = [], LastEvaluatedKey } = await this.#client.send(
      new QueryCommand({
        TableName: this.#name,
        ConsistentRead: true,
        Limit: limit,
        ...(after === undefined ? {} : { ExclusiveStartKey: { [hash]: partition, [range]: after } }),
        KeyConditionExpression: '#h = :h',
        ExpressionAttributeNames: { '#h': hash },
        ExpressionAttributeValues: { ':h': partition },
      }),
    )
    return {
      items: Items as Stored<R>[],
      ...(LastEvaluatedKey ? { next: LastEvaluatedKey[range] as string } : {}),
    }
  }

  async find(index: string, partition: string, options: FindOptions): Promise<Page<Key>> {
    const spec = this.#spec.indexes?.[index]
    if (spec === undefined) throw new TypeError(`${this.#name} has no index ${index}`)
    const { limit, after, from, upTo } = options
    const values = {
      ...(from !== undefined && { ':from': from }),
      ...(upTo !== undefined && { ':upTo': upTo }),
    }
    const { Items = [], LastEvaluatedKey } = await this.#client.send(
      new QueryCommand({
        TableName: this.#name,
        IndexName: index,
        Limit: limit,
        ...(after === undefined ? {} : { ExclusiveStartKey: JSON.parse(after) }),
        KeyConditionExpression: `#h = :h${rangeCondition(options)}`,
        ExpressionAttributeNames: {
          '#h': spec.hash,
          ...(Object.keys(values).length > 0 && { '#r': spec.range as string }),
        },
        ExpressionAttributeValues: { ':h': partition, ...values },
      }),
    )
    return {
      items: Items.map(item => this.#keyOf(item)),
      ...(LastEvaluatedKey ? { next: JSON.stringify(LastEvaluatedKey) } : {}),
    }
  }

  /** Writes an item under a condition. If the condition fails, returns the existing item. */
  async #putIf(
    item: object,
    { condition, name, value }: { condition: string; name: string; value?: number },
  ): Promise<object | undefined> {
    try {
      await this.#client.send(
        new PutCommand({
          TableName: this.#name,
          Item: item,
          ConditionExpression: condition,
          ExpressionAttributeNames: { '#a': name },
          ...(value === undefined ? {} : { ExpressionAttributeValues: { ':v': value } }),
          ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
        }),
      )
      return undefined
    } catch (cause) {
      if (cause instanceof ConditionalCheckFailedException) return cause.Item ? unmarshall(cause.Item) : {}
      throw cause
    }
  }

  async #batchGet(keys: readonly Key[], found: Map<string, Stored<R>>): Promise<void> {
    await this.#untilProcessed(keys, 'read', async rest => {
      const { Responses, UnprocessedKeys } = await this.#client.send(
        new BatchGetCommand({ RequestItems: { [this.#name]: { Keys: [...rest], ConsistentRead: true } } }),
      )
      for (const item of Responses?.[this.#name] ?? [])
        found.set(this.#id(this.#keyOf(item)), item as Stored<R>)
      return (UnprocessedKeys?.[this.#name]?.Keys as Key[] | undefined) ?? []
    })
  }

  async #batchWrite(requests: readonly object[]): Promise<void> {
    await pMap(
      batchesOf(requests, MAX_WRITE_ITEMS),
      batch =>
        this.#untilProcessed(batch, 'written', async rest => {
          const { UnprocessedItems } = await this.#client.send(
            new BatchWriteCommand({ RequestItems: { [this.#name]: [...rest] } }),
          )
          return UnprocessedItems?.[this.#name] ?? []
        }),
      { concurrency: MAX_PARALLEL_CALLS },
    )
  }

  /**
   * Calls DynamoDB for the items of a batch until it has processed all of them. DynamoDB may leave some unprocessed in each
   * call. If it throttles the call, it has processed none.
   *
   * @param call returns the unprocessed items
   * @throws Error if the time of the function is nearly over
   */
  async #untilProcessed<T>(
    batch: readonly T[],
    done: 'read' | 'written',
    call: (items: readonly T[]) => Promise<readonly T[]>,
  ): Promise<void> {
    const patienceMs = startPatience()
    let rest = batch
    for (let attempt = 1; ; attempt++) {
      let cause: Error | undefined
      try {
        rest = await call(rest)
      } catch (thrown) {
        if (!isThrottled(thrown)) throw thrown
        cause = thrown
      }
      if (rest.length === 0) return
      const waitMs = backOffMs(attempt)
      if (waitMs > patienceMs())
        throw new Error(
          `${rest.length} records of ${this.#name} were not ${done}: DynamoDB limited the calls in each of ${attempt} attempts, and the time of the function is nearly over. They are tried again with the message.`,
          { cause },
        )
      await new Promise(resolve => setTimeout(resolve, waitMs))
    }
  }

  #keyOf(item: Record<string, unknown>): Key {
    const { hash, range } = this.#spec.key
    return {
      [hash]: item[hash] as string,
      ...(range === undefined ? {} : { [range]: item[range] as string }),
    }
  }

  #id(key: Key): string {
    const { hash, range } = this.#spec.key
    return JSON.stringify([key[hash], range === undefined ? null : key[range]])
  }
}

/** The condition on the range key, `#r`, of a search between two bounds. */
const rangeCondition = ({ from, upTo }: Pick<FindOptions, 'from' | 'upTo'>): string => {
  if (from !== undefined && upTo !== undefined) return ' AND #r BETWEEN :from AND :upTo'
  if (from !== undefined) return ' AND #r >= :from'
  return upTo === undefined ? '' : ' AND #r <= :upTo'
}

/** The errors of a call that DynamoDB refuses because of the load on a table, a partition or the account. */
const THROTTLED: ReadonlySet<string> = new Set([
  'ProvisionedThroughputExceededException',
  'ThrottlingException',
  'RequestLimitExceeded',
])

const isThrottled = (cause: unknown): cause is Error => cause instanceof Error && THROTTLED.has(cause.name)

/** Returns the wait after an attempt, from 1: exponential backoff from 100 ms with full jitter, as in the AWS SDK. */
const backOffMs = (attempt: number): number => Math.random() * Math.min(MAX_BACK_OFF_MS, 50 * 2 ** attempt)
