import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { deserialize, serialize } from 'node:v8'
import type { Segment, Tables } from '@w3filecoin/aws'
import type {
  Environment,
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
import type { TableSpec } from '@w3filecoin/runtime/resources'
import { UserError } from '@w3filecoin/runtime/user-error'
import type { TableMaker } from './provision.ts'

/**
 * The tables of the local system in one SQLite file, by `node:sqlite`. A row has the key and the attributes of the indexes
 * as columns, and the whole record as a blob.
 */

/** Opened files, by path. All services of a thread share one connection: two would wait for each other's transactions. */
const opened = new Map<string, SqliteTables>()

/** Opens the tables in the file that `TABLES_FILE` names. */
export const openTables = ({ TABLES_FILE: file }: Environment): SqliteTables => {
  if (file === undefined) throw new Error('The environment variable TABLES_FILE is not set')
  const tables = opened.get(file) ?? new SqliteTables(file)
  opened.set(file, tables)
  return tables
}

/** Time to wait for a transaction of another process, e.g. of `ops`. */
const MAX_WAIT_MS = 10_000
/** An item of DynamoDB has at most 400 KB. */
const MAX_RECORD_BYTES = 400 * 1024
/** Rows in a page of a scan. */
const SCAN_ROWS = 100

/** The columns of a table beside those of its key and its indexes. No attribute has such a name. */
const REVISION = '"#revision"'
const RECORD = '"#record"'

/** A SQLite file with tables. Create each table before it is used. */
export class SqliteTables implements Tables, TableMaker {
  readonly #file: string
  readonly #database: DatabaseSync
  readonly #statements = new Map<string, StatementSync>()
  /** The transaction of the present turn of the event loop. */
  #turn: PromiseWithResolvers<void> | undefined

  constructor(file: string) {
    this.#file = file
    this.#database = new DatabaseSync(file, { timeout: MAX_WAIT_MS })
    this.#database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
  }

  open<R extends object>(name: () => string, spec: TableSpec): Table<R> {
    return new SqliteTable<R>({ tables: this, name, spec })
  }

  async *scan(
    name: string,
    { segment, segments }: Segment = { segment: 0, segments: 1 },
  ): AsyncGenerator<Row[]> {
    const table = quote(name)
    const { last } = this.prepare(`SELECT coalesce(max(rowid), 0) AS last FROM ${table}`).get() as {
      last: number
    }
    const boundOf = (n: number) => Math.floor((last * n) / segments)
    // The last segment has no end: rows that are added during the scan are in it.
    const upTo = segment === segments - 1 ? Number.MAX_SAFE_INTEGER : boundOf(segment + 1)
    for (let after = boundOf(segment); ; ) {
      const rows = await this.read(() =>
        this.prepare(
          `SELECT rowid, ${RECORD} AS record FROM ${table} WHERE rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ${SCAN_ROWS}`,
        ).all(after, upTo),
      )
      if (rows.length === 0) return
      yield rows.map(({ record }) => decode<Row>(record))
      after = rows.at(-1)!.rowid as number
    }
  }

  /**
   * Creates a table, or adds the missing indexes to a table that an earlier version created.
   *
   * @throws UserError if the table exists with another key
   */
  create(name: string, { fields, key, indexes = {} }: TableSpec): void {
    const database = this.#database
    const attributes = [...Object.values(indexes), key].flatMap(namesOf)
    const columnOf = (attribute: string) =>
      `${quote(attribute)} ${fields[attribute] === 'number' ? 'REAL' : 'TEXT'}`
    // A service that has started already may write while the tables of the next one are created.
    this.#commit()
    database.exec('BEGIN IMMEDIATE')
    try {
      const columns = database.prepare(`SELECT name, pk FROM pragma_table_info(?)`).all(name)
      const known = columns.filter(({ pk }) => pk).sort((a, b) => Number(a.pk) - Number(b.pk))
      if (columns.length === 0)
        database.exec(
          `CREATE TABLE ${quote(name)} (${[...new Set(attributes)].map(columnOf).join(', ')}, ${REVISION} INTEGER, ${RECORD} BLOB NOT NULL, PRIMARY KEY (${listed(namesOf(key))}))`,
        )
      else if (known.map(column => column.name).join() !== namesOf(key).join())
        throw new UserError(
          `The table ${name} exists with other keys. Pass another --data or remove this data directory.`,
        )
      else
        for (const attribute of new Set(attributes))
          if (!columns.some(column => column.name === attribute)) this.#addColumn(name, attribute, columnOf)
      for (const [index, attributes] of Object.entries(indexes))
        database.exec(
          `CREATE INDEX IF NOT EXISTS ${quote(indexName(name, index, attributes))} ON ${quote(name)} (${listed([...namesOf(attributes), ...namesOf(key)])}) WHERE ${namesOf(attributes).map(isPresent).join(' AND ')}`,
        )
      database.exec('COMMIT')
    } catch (cause) {
      database.exec('ROLLBACK')
      throw cause
    }
  }

  /** Adds a column for the attribute of a new index, and fills it from the records. */
  #addColumn(table: string, attribute: string, columnOf: (attribute: string) => string): void {
    this.#database.exec(`ALTER TABLE ${quote(table)} ADD COLUMN ${columnOf(attribute)}`)
    const rows = this.#database.prepare(`SELECT rowid, ${RECORD} AS record FROM ${quote(table)}`)
    const fill = this.#database.prepare(`UPDATE ${quote(table)} SET ${quote(attribute)} = ? WHERE rowid = ?`)
    for (const { rowid, record } of rows.all())
      fill.run((decode<Row>(record)[attribute] as SQLInputValue) ?? null, rowid as number)
  }

  /** Returns a statement, prepared once. */
  prepare(sql: string): StatementSync {
    const statement = this.#statements.get(sql) ?? this.#database.prepare(sql)
    this.#statements.set(sql, statement)
    return statement
  }

  /**
   * Runs statements in the transaction that all writes of one turn of the event loop share: one commit, with one sync of the
   * disk, stores them all. Resolves when it is on the disk.
   */
  async write<T>(run: () => T): Promise<T> {
    if (this.#turn === undefined) {
      this.#database.exec('BEGIN IMMEDIATE')
      this.#turn = Promise.withResolvers()
      // If the statements of the only write throw, none waits for the commit.
      this.#turn.promise.catch(() => {})
      setImmediate(() => this.#commit())
    }
    const { promise } = this.#turn
    const result = run()
    await promise
    return result
  }

  /** Runs a query. What it saw of the present transaction is on the disk when it resolves. */
  async read<T>(run: () => T): Promise<T> {
    const result = run()
    await this.#turn?.promise
    return result
  }

  /** Ends the transaction of the present turn, if there is one. */
  #commit(): void {
    const turn = this.#turn
    if (turn === undefined) return
    this.#turn = undefined
    try {
      this.#database.exec('COMMIT')
      turn.resolve()
    } catch (cause) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
      turn.reject(cause)
    }
  }

  /** Closes the file, after the transaction of the present turn. */
  close(): void {
    this.#commit()
    opened.delete(this.#file)
    this.#database.close()
  }
}

interface SqliteTableOptions {
  tables: SqliteTables
  /** Called on each use. */
  name: () => string
  spec: TableSpec
}

/** A table of records in SQLite. See `Table` for its contract. */
class SqliteTable<R extends object> implements Table<R> {
  readonly #tables: SqliteTables
  readonly #locate: () => string
  readonly #spec: TableSpec
  /** The attributes of the key, and of all indexes. */
  readonly #key: readonly string[]
  readonly #columns: readonly string[]

  constructor({ tables, name, spec }: SqliteTableOptions) {
    this.#tables = tables
    this.#locate = name
    this.#spec = spec
    this.#key = namesOf(spec.key)
    this.#columns = [...new Set([...this.#key, ...Object.values(spec.indexes ?? {}).flatMap(namesOf)])]
  }

  get #name(): string {
    return this.#locate()
  }

  async get(key: Key): Promise<Stored<R> | undefined> {
    const values = this.#valuesOf(key, this.#key)
    return this.#tables.read(() => this.#find(values))
  }

  async getMany(keys: readonly Key[]): Promise<(Stored<R> | undefined)[]> {
    const values = keys.map(key => this.#valuesOf(key, this.#key))
    return this.#tables.read(() => values.map(key => this.#find(key)))
  }

  async insert(record: R): Promise<Result<Stored<R>, RecordExists<R>>> {
    const row = this.#rowOf({ ...record, revision: 1 })
    return this.#tables.write(() => {
      if (this.#put('INSERT', row, 'ON CONFLICT DO NOTHING') === 1) return { ok: row.record }
      const message = `${this.#name} already has a record with this key`
      const existing = this.#find(this.#valuesOf(record, this.#key)) as Stored<R>
      return { error: { name: 'RecordExists', message, record: existing } }
    })
  }

  async replace(record: Stored<R>): Promise<Result<Stored<R>, RevisionConflict>> {
    const row = this.#rowOf({ ...record, revision: record.revision + 1 })
    const set = [...this.#columns.map(quote), REVISION, RECORD].map(column => `${column} = ?`).join(', ')
    const sql = `UPDATE ${quote(this.#name)} SET ${set} WHERE ${this.#isKey} AND ${REVISION} = ?`
    const key = this.#valuesOf(record, this.#key)
    return this.#tables.write(() =>
      this.#tables.prepare(sql).run(...row.values, ...key, record.revision).changes === 1
        ? { ok: row.record }
        : {
            error: {
              name: 'RevisionConflict',
              message: `The record in ${this.#name} was changed concurrently`,
            },
          },
    )
  }

  async putMany(records: readonly R[]): Promise<void> {
    const rows = records.map(record => this.#rowOf({ ...record, revision: 1 }))
    if (rows.length > 0)
      await this.#tables.write(() => {
        for (const row of rows) this.#put('INSERT OR REPLACE', row)
      })
  }

  async removeMany(keys: readonly Key[]): Promise<void> {
    const values = keys.map(key => this.#valuesOf(key, this.#key))
    const sql = `DELETE FROM ${quote(this.#name)} WHERE ${this.#isKey}`
    if (values.length > 0)
      await this.#tables.write(() => {
        for (const key of values) this.#tables.prepare(sql).run(...key)
      })
  }

  async add(key: Key, counters: Record<string, number>, initial: Partial<R> = {}): Promise<R> {
    const values = this.#valuesOf(key, this.#key)
    return this.#tables.write(() => {
      const existing: Row = (this.#find(values) as Row | undefined) ?? {}
      const record: Row = { ...initial, ...key, ...existing }
      for (const [name, by] of Object.entries(counters)) {
        const count = existing[name] ?? 0
        if (typeof count !== 'number') throw new TypeError(`${name} in ${this.#name} is not a number`)
        record[name] = count + by
      }
      const row = this.#rowOf(record)
      this.#put('INSERT OR REPLACE', row)
      return row.record as R
    })
  }

  async list(partition: string, { limit, after }: ListOptions): Promise<Page<Stored<R>>> {
    const { hash, range } = this.#spec.key as { hash: string; range: string }
    const from = after === undefined ? '' : `AND ${quote(range)} > ?`
    const sql = `SELECT ${RECORD} AS record FROM ${quote(this.#name)} WHERE ${quote(hash)} = ? ${from} ORDER BY ${quote(range)} LIMIT ?`
    const values = after === undefined ? [partition] : [partition, after]
    return this.#tables.read(() => {
      const rows = this.#tables.prepare(sql).all(...values, limit + 1)
      const items = rows.slice(0, limit).map(({ record }) => decode<Stored<R>>(record))
      const last = items.at(-1) as Row | undefined
      return { items, ...(rows.length > limit && last ? { next: last[range] as string } : {}) }
    })
  }

  async find(
    index: string,
    partition: string,
    { limit, after, from, upTo }: FindOptions,
  ): Promise<Page<Key>> {
    const spec = this.#spec.indexes?.[index]
    if (spec === undefined) throw new TypeError(`${this.#name} has no index ${index}`)
    const { hash, range } = spec
    // A page continues behind the place of its last row, in the order of the index.
    const order = [...(range === undefined ? [] : [range]), ...this.#key]
    const place: SQLInputValue[] = after === undefined ? [] : JSON.parse(after)
    const conditions: [string, SQLInputValue[]][] = [
      [`${quote(hash)} = ?`, [partition]],
      ...(range === undefined ? [] : [[isPresent(range), []] as [string, SQLInputValue[]]]),
      ...(from === undefined ? [] : [[`${quote(range!)} >= ?`, [from]] as [string, SQLInputValue[]]]),
      ...(upTo === undefined ? [] : [[`${quote(range!)} <= ?`, [upTo]] as [string, SQLInputValue[]]]),
      ...(after === undefined
        ? []
        : [
            [`(${listed(order)}) > (${order.map(() => '?').join(', ')})`, place] as [string, SQLInputValue[]],
          ]),
    ]
    const sql = `SELECT ${listed(order)} FROM ${quote(this.#name)} INDEXED BY ${quote(indexName(this.#name, index, spec))} WHERE ${conditions.map(([condition]) => condition).join(' AND ')} ORDER BY ${listed(order)} LIMIT ?`
    return this.#tables.read(() => {
      const rows = this.#tables.prepare(sql).all(...conditions.flatMap(([, values]) => values), limit + 1)
      const found = rows.slice(0, limit)
      const last = found.at(-1)
      return {
        items: found.map(row => Object.fromEntries(this.#key.map(name => [name, row[name] as string]))),
        ...(rows.length > limit && last ? { next: JSON.stringify(order.map(name => last[name])) } : {}),
      }
    })
  }

  get #isKey(): string {
    return this.#key.map(name => `${quote(name)} = ?`).join(' AND ')
  }

  #find(key: readonly SQLInputValue[]): Stored<R> | undefined {
    const sql = `SELECT ${RECORD} AS record FROM ${quote(this.#name)} WHERE ${this.#isKey}`
    const row = this.#tables.prepare(sql).get(...key)
    return row && decode<Stored<R>>(row.record)
  }

  /** Writes a row. Returns how many rows it changed. */
  #put(
    verb: 'INSERT' | 'INSERT OR REPLACE',
    { values }: { values: readonly SQLInputValue[] },
    otherwise = '',
  ) {
    const columns = [...this.#columns.map(quote), REVISION, RECORD]
    const sql = `${verb} INTO ${quote(this.#name)} (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')}) ${otherwise}`
    return this.#tables.prepare(sql).run(...values).changes
  }

  /** Returns a record as it is stored, and the values of its columns. */
  #rowOf<T extends object>(record: T): { record: T; values: SQLInputValue[] } {
    const stored = toStored(record) as T & { revision?: number }
    const bytes = serialize(stored)
    if (bytes.byteLength > MAX_RECORD_BYTES)
      throw new RangeError(
        `A record of ${this.#name} has ${bytes.byteLength} bytes. An item of DynamoDB has at most ${MAX_RECORD_BYTES}.`,
      )
    const values = this.#columns.map(name =>
      this.#key.includes(name) || name in stored ? this.#valueOf(stored as Row, name) : null,
    )
    return { record: stored, values: [...values, stored.revision ?? null, bytes] }
  }

  #valuesOf(row: object, names: readonly string[]): SQLInputValue[] {
    return names.map(name => this.#valueOf(row as Row, name))
  }

  /** Returns the value of an attribute of a key. Throws if it is one that DynamoDB refuses. */
  #valueOf(row: Row, name: string): string | number {
    const value = row[name]
    const type = this.#spec.fields[name]
    if ((typeof value !== 'string' && typeof value !== 'number') || typeof value !== type || value === '')
      throw new TypeError(`${name} of a record of ${this.#name} must be a ${type}, and not empty`)
    return value
  }
}

const namesOf = ({ hash, range }: { hash: string; range?: string }): string[] =>
  range === undefined ? [hash] : [hash, range]

/** The name of an index has its attributes: an index of the same name with other ones is another index. */
const indexName = (table: string, index: string, attributes: { hash: string; range?: string }): string =>
  `${table}.${index}(${namesOf(attributes).join()})`

const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`
const listed = (names: readonly string[]): string => names.map(quote).join(', ')
const isPresent = (name: string): string => `${quote(name)} IS NOT NULL`

const decode = <T>(record: unknown): T => deserialize(record as Uint8Array) as T

/** Copies a value as DynamoDB stores it: deeply, without `undefined`. Throws for a value that DynamoDB cannot store. */
const toStored = (value: unknown): unknown => {
  if (typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)) return value
  if (Array.isArray(value)) return value.map(toStored)
  // Without the class of a `Buffer`, which `serialize` would keep.
  if (value instanceof Uint8Array) return new Uint8Array(value)
  const prototype = typeof value === 'object' && value !== null ? Object.getPrototypeOf(value) : undefined
  if (prototype !== Object.prototype && prototype !== null)
    throw new TypeError(`A table cannot store ${String(value)}`)
  const stored: Record<string, unknown> = {}
  for (const [name, attribute] of Object.entries(value as object))
    if (attribute !== undefined) stored[name] = toStored(attribute)
  return stored
}
