import type {
  FindOptions,
  Key,
  ListOptions,
  Page,
  RecordExists,
  Result,
  RevisionConflict,
  Stored,
  Table,
} from '@w3filecoin/runtime'
import type { TableSpec } from '@w3filecoin/runtime/resources'
import type { Choices } from './random.ts'
import type { DeterministicWorld, Effect } from './world.ts'

type Item = Record<string, unknown> & { revision: number }

interface Options {
  name: string
  spec: TableSpec
  world: DeterministicWorld
  /** Maximum delay of an index, in milliseconds. */
  lag: number
  /** Called for every item that is written. */
  onWrite?: (item: Item, previous: Item | undefined) => void
}

/** A DynamoDB item has at most 400 KB. */
const MAX_BYTES = 400_000

/**
 * The port `Table` in the deterministic world. It behaves as DynamoDB does behind the port: items are copies, writes are
 * conditional, reads of the table are consistent, and its indexes lag behind.
 */
export class DeterministicTable<R extends object> implements Table<R> {
  readonly items = new Map<string, Item>()
  readonly #options: Options
  /** The items that the indexes contain. An item appears, or disappears, some time after the write. */
  readonly #seen = new Map<string, Item>()

  constructor(options: Options) {
    this.#options = options
  }

  /** Writes an item from outside the world, at once and without a fault. */
  seed(item: Stored<R>): void {
    this.#write(copy(item) as unknown as Item)
  }

  get(key: Key): Promise<Stored<R> | undefined> {
    return this.#call('get', { run: () => this.#read(this.#id(key)) })
  }

  getMany(keys: readonly Key[]): Promise<(Stored<R> | undefined)[]> {
    if (keys.length === 0) return Promise.resolve([])
    return this.#call('getMany', { run: () => keys.map(key => this.#read(this.#id(key))) })
  }

  insert(record: R): Promise<Result<Stored<R>, RecordExists<R>>> {
    const item = copy({ ...record, revision: 1 })
    return this.#call('insert', {
      run: (): Result<Stored<R>, RecordExists<R>> => {
        const existing = this.#read(this.#id(item))
        if (existing)
          return {
            error: {
              name: 'RecordExists',
              message: `${this.#options.name} already has this record`,
              record: existing,
            },
          }
        this.#write(item)
        return { ok: copy(item) as never }
      },
    })
  }

  replace(record: Stored<R>): Promise<Result<Stored<R>, RevisionConflict>> {
    const item = copy({ ...record, revision: record.revision + 1 })
    return this.#call('replace', {
      run: (): Result<Stored<R>, RevisionConflict> => {
        if (this.items.get(this.#id(item))?.revision !== record.revision)
          return {
            error: {
              name: 'RevisionConflict',
              message: `The record in ${this.#options.name} has another revision`,
            },
          }
        this.#write(item)
        return { ok: copy(item) as never }
      },
    })
  }

  putMany(records: readonly R[]): Promise<void> {
    const items = records.map(record => copy({ ...record, revision: 1 }))
    return this.#batch('putMany', items, item => this.#write(item))
  }

  removeMany(keys: readonly Key[]): Promise<void> {
    return this.#batch('removeMany', keys, key => this.#remove(this.#id(key)))
  }

  add(key: Key, counters: Record<string, number>, initial: Partial<R> = {}): Promise<R> {
    const set = copy(initial) as Record<string, unknown>
    return this.#call('add', {
      run: () => {
        const existing = this.items.get(this.#id(key)) as Record<string, unknown> | undefined
        const item: Record<string, unknown> = { ...set, ...key, ...existing }
        for (const [name, by] of Object.entries(counters))
          item[name] = ((existing?.[name] as number | undefined) ?? 0) + by
        this.#write(item as Item)
        return copy(item) as R
      },
    })
  }

  list(partition: string, { limit, after }: ListOptions): Promise<Page<Stored<R>>> {
    const keys = this.#options.spec.key
    const range = keys.range as string
    return this.#call('list', {
      run: () => {
        const rows = [...this.items.values()].filter(
          item => item[keys.hash] === partition && (after === undefined || (item[range] as string) > after),
        )
        const { items, next } = page(
          rows,
          range,
          { limit },
          item => item[range],
          item => item,
        )
        return {
          items: items.map(item => copy(item) as never),
          ...(next === undefined ? {} : { next: items.at(-1)?.[range] as string }),
        }
      },
    })
  }

  async find(index: string, partition: string, options: FindOptions): Promise<Page<Key>> {
    const { spec, name } = this.#options
    const keys = spec.indexes?.[index]
    if (keys === undefined) throw new TypeError(`${name} has no index ${index}`)
    const { limit, after, from, upTo } = options
    const range = keys.range as string
    const search = () => {
      const rows = [...this.#seen.values()].filter(
        item =>
          item[keys.hash] === partition &&
          item[range] !== undefined &&
          (from === undefined || (item[range] as typeof from) >= from) &&
          (upTo === undefined || (item[range] as typeof upTo) <= upTo),
      )
      return page(
        rows,
        range,
        { limit, after },
        item => this.#id(item),
        item => this.#keyOf(item),
      )
    }
    // Finding nothing is not a call, because sweeps mostly find nothing. A function killed before or after it is the same as
    // one killed after the call before it, or before the next one.
    if (search().items.length === 0) return { items: [] }
    return this.#call('find', { run: search })
  }

  #call<T>(method: string, effect: Effect<T>): Promise<T> {
    return this.#options.world.call({ port: 'table', name: this.#options.name, method }, effect)
  }

  #batch<T>(method: string, items: readonly T[], each: (item: T) => void): Promise<void> {
    if (items.length === 0) return Promise.resolve()
    return this.#call(method, {
      run: () => {
        for (const item of items) each(item)
      },
      part: (choices: Choices) => {
        for (const item of choices.shuffled(items).slice(0, choices.between(0, items.length - 1))) each(item)
      },
    })
  }

  #read(id: string): Stored<R> | undefined {
    const item = this.items.get(id)
    return item && (copy(item) as unknown as Stored<R>)
  }

  #write(item: Item): void {
    const id = this.#id(item)
    const { onWrite, name } = this.#options
    if (sizeOf(item) > MAX_BYTES) throw new Error(`An item of ${name} has more than ${MAX_BYTES} bytes`)
    onWrite?.(item, this.items.get(id))
    this.items.set(id, copy(item))
    this.#show(id)
  }

  #remove(id: string): void {
    this.items.delete(id)
    this.#show(id)
  }

  /** Updates the indexes with an item, after a delay. */
  #show(id: string): void {
    const { world, lag, spec } = this.#options
    if (spec.indexes === undefined) return
    const show = () => {
      const item = this.items.get(id)
      if (item) this.#seen.set(id, item)
      else this.#seen.delete(id)
    }
    if (lag === 0) show()
    else world.timeline.after(world.choices.between(0, lag), show)
  }

  #keyOf(item: Record<string, unknown>): Key {
    const { hash, range } = this.#options.spec.key
    return {
      [hash]: item[hash] as string,
      ...(range === undefined ? {} : { [range]: item[range] as string }),
    }
  }

  #id(key: Record<string, unknown>): string {
    return JSON.stringify(Object.values(this.#keyOf(key)))
  }
}

/** Returns a page of rows in the order of `range`. */
const page = <T>(
  rows: readonly Item[],
  range: string,
  { limit, after }: ListOptions,
  idOf: (item: Item) => unknown,
  shape: (item: Item) => T,
): Page<T> => {
  const place = (item: Item) => [item[range], idOf(item)] as [string | number, string]
  const sorted = rows.map(item => ({ item, place: place(item) })).sort((a, b) => compare(a.place, b.place))
  const from = after === undefined ? undefined : (JSON.parse(after) as [string | number, string])
  const rest = from === undefined ? sorted : sorted.filter(row => compare(row.place, from) > 0)
  const items = rest.slice(0, limit)
  const last = items.at(-1)
  return {
    items: items.map(({ item }) => shape(item)),
    ...(last && rest.length > limit ? { next: JSON.stringify(last.place) } : {}),
  }
}

const compare = (a: [string | number, string], b: [string | number, string]): number => {
  if (a[0] !== b[0]) return a[0] < b[0] ? -1 : 1
  return a[1] === b[1] ? 0 : a[1] < b[1] ? -1 : 1
}

/** Copies a value as the SDK writes and reads it: deeply, without `undefined`. */
const copy = <T>(value: T): T => {
  if (value instanceof Uint8Array) return new Uint8Array(value) as T
  if (Array.isArray(value)) return value.map(copy) as T
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [name, copy(value)]),
  ) as T
}

const sizeOf = (value: unknown): number => {
  if (value instanceof Uint8Array) return value.byteLength
  if (typeof value === 'string') return Buffer.byteLength(value)
  if (typeof value !== 'object' || value === null) return 8
  return Object.entries(value).reduce((sum, [name, value]) => sum + name.length + sizeOf(value), 0)
}
