import type { Key, Page, Row, Stored, Table } from '../ports.ts'
import { pack, unpack } from './packed.ts'
import type { Workflow } from './transitions.ts'

/**
 * How the records of one table are stored. Each row carries the version of its format as `v`, so that a later version of
 * the code can tell the formats apart. Rows without `v` were written before formats had versions: they have version 1.
 *
 * @example A storefront's piece in DynamoDB: `{ v: 1, id: 'kD3…', stage: 'queued', accept: <bytes>, … }`; its record in
 * memory: `{ id: 'kD3…', stage: 'queued', acceptTask: <bytes>, … }`.
 */
export interface RecordFormat<R> {
  version: number
  encode(record: Partial<R>): Row
  /** Throws on a row of a later version: this code must not rewrite a record that it cannot read in full. */
  decode(row: Row): R
  /** Absent if the records have no stages. */
  workflow?: Workflow<R> | undefined
}

/**
 * Defines the format of a table's records.
 *
 * @param options.stored attributes whose name in the table differs from their name in memory
 * @param options.upgrade returns a row of an earlier version with the attributes of the present one, under their names in memory
 * @param options.packed attributes with bytes that the table holds as {@link pack} packs them
 * @param options.workflow how the transitions of the records are reported
 * @example recordFormat<PieceRecord>({ version: 2, stored: { acceptTask: 'accept' }, packed: ['acceptTask'] })
 */
export const recordFormat = <R extends object>({
  version = 1,
  stored = {},
  packed = [],
  upgrade = row => row,
  workflow,
}: {
  version?: number
  stored?: { [A in keyof R & string]?: string }
  packed?: readonly (keyof R & string)[]
  upgrade?: (row: Row) => Row
  workflow?: Workflow<R>
} = {}): RecordFormat<R> => {
  const toStored = Object.entries(stored) as [string, string][]
  const toMemory = toStored.map(([memory, stored]) => [stored, memory] as const)
  return {
    version,
    workflow,
    encode: record => ({ ...rename(mapBytes(record as Row, packed, pack), toStored), v: version }),
    decode: ({ v = 1, ...row }) => {
      if (Number(v) > version)
        throw new Error(
          `The record has version ${v}, and this code reads versions up to ${version}: a later version of the service wrote it`,
        )
      const record = mapBytes(rename(row, toMemory), packed, unpack)
      return (Number(v) < version ? upgrade(record) : record) as R
    },
  }
}

/** Returns the row with other bytes in some attributes, where they are present. */
const mapBytes = (row: Row, names: readonly string[], map: (bytes: Uint8Array) => Uint8Array): Row => {
  const result = { ...row }
  for (const name of names) {
    const value = row[name]
    if (value instanceof Uint8Array) result[name] = map(value)
  }
  return result
}

/** Returns the row with the attributes `from` under the names `to`. */
const rename = (row: Row, names: readonly (readonly [from: string, to: string])[]): Row => {
  const result = { ...row }
  for (const [from, to] of names)
    if (from in result) {
      result[to] = result[from]
      delete result[from]
    }
  return result
}

/** Returns the table with its rows as records of a format. Keys are the same in both. */
export const formatted = <R extends object>(table: Table<Row>, format: RecordFormat<R>): Table<R> => {
  const decode = (row: Stored<Row>) => format.decode(row) as Stored<R>
  const decodeAny = (row: Stored<Row> | undefined) => row && decode(row)
  const encode = (record: Stored<R>) => format.encode(record) as Stored<Row>
  return {
    get: async key => decodeAny(await table.get(key)),
    getMany: async keys => (await table.getMany(keys)).map(decodeAny),
    insert: async record => {
      const { ok, error } = await table.insert(format.encode(record))
      // The record that was passed, so that nothing is unpacked that was just packed.
      return ok
        ? { ok: { ...record, revision: ok.revision } }
        : { error: { ...error, record: decode(error.record) } }
    },
    replace: async record => {
      const { ok, error } = await table.replace(encode(record))
      return ok ? { ok: decode(ok) } : { error }
    },
    putMany: records => table.putMany(records.map(record => format.encode(record))),
    removeMany: keys => table.removeMany(keys),
    add: async (key, counters, initial = {}) =>
      format.decode(await table.add(key, counters, format.encode(initial))),
    list: async (partition, options): Promise<Page<Stored<R>>> => {
      const { items, ...rest } = await table.list(partition, options)
      return { items: items.map(decode), ...rest }
    },
    find: (index, partition, options): Promise<Page<Key>> => table.find(index, partition, options),
  }
}
