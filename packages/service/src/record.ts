import { hash } from 'node:crypto'
import { extract } from '@ucanto/core/delegation'
import type { Task } from '@w3filecoin/capabilities'

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

export const unpackTask = async (bytes: Uint8Array): Promise<Task> => {
  const task = await extract(bytes)
  if (task.error) throw task.error
  return task.ok as unknown as Task
}
