import type { Engine, Key, Row, Stored, Table } from '../packages/runtime/src/index.ts'
import type { Resources } from '../packages/runtime/src/resources.ts'

/** The methods of a table that taking offers needs. Others throw. */
class MemoryTable {
  readonly #rows = new Map<string, Stored<Row>>()
  readonly #keyOf: (key: Row) => string

  constructor({ hash, range }: { hash: string; range?: string | undefined }) {
    this.#keyOf = range === undefined ? key => `${key[hash]}` : key => `${key[hash]} ${key[range]}`
  }

  clear(): void {
    this.#rows.clear()
  }

  async get(key: Key): Promise<Stored<Row> | undefined> {
    return this.#rows.get(this.#keyOf(key))
  }

  async getMany(keys: readonly Key[]): Promise<(Stored<Row> | undefined)[]> {
    return keys.map(key => this.#rows.get(this.#keyOf(key)))
  }

  async insert(record: Row) {
    const key = this.#keyOf(record)
    const existing = this.#rows.get(key)
    if (existing)
      return { error: { name: 'RecordExists', message: 'The table has this record', record: existing } }
    const stored = { ...record, revision: 1 }
    this.#rows.set(key, stored)
    return { ok: stored }
  }

  async putMany(records: readonly Row[]): Promise<void> {
    for (const record of records) this.#rows.set(this.#keyOf(record), { ...record, revision: 1 })
  }

  async add(key: Key, counters: Record<string, number>, initial: Row = {}): Promise<Row> {
    const row: Stored<Row> = { revision: 1, ...initial, ...key, ...this.#rows.get(this.#keyOf(key)) }
    for (const [name, by] of Object.entries(counters)) row[name] = Number(row[name] ?? 0) + by
    this.#rows.set(this.#keyOf(key), row)
    return row
  }
}

/** The stores of a service in memory, for measurements of everything else. Queues drop their messages. */
export const openMemory = (resources: Resources): { engine: Engine; clear: () => void } => {
  const tables = new Map<string, MemoryTable>()
  const engine: Engine = {
    table: <R extends object = Row>(name: string) => {
      const spec = resources.tables[name]
      if (spec === undefined) throw new TypeError(`There is no table ${name}`)
      const table = new MemoryTable(spec.key)
      tables.set(name, table)
      return table as unknown as Table<R>
    },
    queue: () => ({ send: async () => {} }),
    blocks: () => ({
      put: () => Promise.reject(new Error('Offers store no blocks')),
      get: async () => undefined,
      locate: () => Promise.reject(new Error('Offers locate no blocks')),
    }),
  }
  const clear = () => {
    for (const table of tables.values()) table.clear()
  }
  return { engine, clear }
}
