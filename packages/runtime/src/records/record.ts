import { hash } from 'node:crypto'
import type { Task } from '@w3filecoin/capabilities'
import type { Key, Stored, Table } from '../ports.ts'
import { extractTask, viewAgain } from '../ucan/ucanto.ts'

/**
 * Returns the key of a record: a hash of the values that identify it, so that all keys have the same length and spread
 * evenly over the partitions of a table.
 *
 * @example recordId('did:web:storefront.test', 'photos', 'bafkzci…', undefined)
 * // SHA-256 of '["did:web:storefront.test","photos","bafkzci…",null]' in base64url: 43 characters
 */
export const recordId = (...parts: (string | undefined)[]): string =>
  hash('sha256', JSON.stringify(parts.map(part => part ?? null)), 'base64url')

/**
 * Packs a promised task for its record: the signed invocation with its proofs, as a CAR. The service later runs exactly
 * these bytes, even if its key or its delegations changed in the meantime.
 */
export const packTask = async (task: Task): Promise<Uint8Array> => {
  const archive = await task.archive()
  if (archive.error) throw archive.error
  packed.set(archive.ok, task)
  return archive.ok
}

/** The tasks that were packed, by their bytes: a handler packs the task for the record, and promises it. */
const packed = new WeakMap<Uint8Array, Task>()

/** Reads a task that {@link packTask} packed. Each call returns a new view, to which a block may be attached. */
export const unpackTask = async (bytes: Uint8Array): Promise<Task> => {
  const task = packed.get(bytes)
  return task ? viewAgain(task) : extractTask(bytes)
}

/** Returns the CID of a task that {@link packTask} packed, as text. */
export const cidOf = async (bytes: Uint8Array): Promise<string> => `${(await unpackTask(bytes)).cid}`

/** Maximum number of attempts to update a record that other writers change at the same time. */
const MAX_UPDATE_ATTEMPTS = 20

/**
 * Reads a record, changes it, and writes it if no other writer changed it in between; else starts again.
 *
 * @param change returns the new record, or `undefined` to write nothing. It must be pure, because each attempt calls it.
 * @param options.known the record as it was read before. It is changed first, which saves a read if it is still the present one.
 * @returns the present record, and whether this call changed it
 */
export const update = async <R>(
  table: Table<R>,
  key: Key,
  change: (record: Stored<R>) => Stored<R> | undefined,
  { known }: { known?: Stored<R> | undefined } = {},
): Promise<{ record: Stored<R> | undefined; changed: boolean }> => {
  const fromKnown = known && change(known)
  if (fromKnown !== undefined) {
    const replaced = await table.replace(fromKnown)
    if (replaced.ok) return { record: replaced.ok, changed: true }
  }
  for (let attempt = 0; attempt < MAX_UPDATE_ATTEMPTS; attempt++) {
    const record = await table.get(key)
    const next = record && change(record)
    if (next === undefined) return { record, changed: false }
    const replaced = await table.replace(next)
    if (replaced.ok) return { record: replaced.ok, changed: true }
  }
  throw new Error(
    `Other writers changed the record ${JSON.stringify(key)} in each of ${MAX_UPDATE_ATTEMPTS} attempts. Try again later.`,
  )
}

/** Rows that {@link listAll} reads in one call. */
const PAGE_ROWS = 1_000

/** Reads all rows of a partition that has few of them, in the order of their range key. */
export const listAll = async <R>(table: Pick<Table<R>, 'list'>, partition: string): Promise<Stored<R>[]> => {
  const rows: Stored<R>[] = []
  let after: string | undefined
  do {
    const page = await table.list(partition, { limit: PAGE_ROWS, after })
    rows.push(...page.items)
    after = page.next
  } while (after !== undefined)
  return rows
}
