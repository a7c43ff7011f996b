import { hash } from 'node:crypto'
import type { Task } from '@w3filecoin/capabilities'
import type { Key, Stored, Table } from '../ports.ts'
import { extractTask } from '../ucan/ucanto.ts'

/** The key of a record: a hash of what makes it that record, so that keys have one length and spread evenly. */
export const recordId = (...parts: (string | undefined)[]): string =>
  hash('sha256', JSON.stringify(parts.map(part => part ?? null)), 'base64url')

/**
 * A promised task as a record keeps it: the signed invocation with its proofs. What is run later is this, byte for
 * byte, also when the service changed its key or its delegations meanwhile.
 */
export const packTask = async (task: Task): Promise<Uint8Array> => {
  const archive = await task.archive()
  if (archive.error) throw archive.error
  return archive.ok
}

export const unpackTask = (bytes: Uint8Array): Promise<Task> => extractTask(bytes)

/** How often a record is read again when others change it at the same time. */
const UPDATE_ATTEMPTS = 20

/**
 * Reads a record, decides what becomes of it, and writes that; again from the start when somebody else was faster.
 * `change` is pure and may be called several times; where it returns `undefined` nothing is written. Returns the
 * record as it is now, and whether this call changed it.
 */
export const update = async <R>(
  table: Table<R>,
  key: Key,
  change: (record: Stored<R>) => Stored<R> | undefined,
): Promise<{ record: Stored<R> | undefined; changed: boolean }> => {
  for (let attempt = 0; attempt < UPDATE_ATTEMPTS; attempt++) {
    const record = await table.get(key)
    const next = record && change(record)
    if (next === undefined) return { record, changed: false }
    const replaced = await table.replace(next)
    if (replaced.ok) return { record: replaced.ok, changed: true }
  }
  throw new Error(`Others kept changing the record ${JSON.stringify(key)}`)
}
