import { failure, type Result, type Task } from '@w3filecoin/capabilities'
import { type Stored, update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { listenerId, newListener } from '../domain/listener.ts'
import { addListener, isFinal, MAX_LISTENERS, type PieceRecord } from '../domain/piece.ts'
import { findAddressExcess, type Space } from '../domain/quota.ts'
import { countToday } from './count-today.ts'

interface Named {
  /** The record of the workflow, and the `filecoin/accept` that the offer promises. */
  record: Stored<PieceRecord>
  acceptTask: Task
  /** DID of the agent that made the offer. */
  audience: string
  url: string
  /** The space that the offer is for. */
  space: Space
}

/**
 * Has the receipt of `filecoin/accept` delivered to an address, once there is one. The row is written before its key is added to
 * the record of the workflow: if this run is killed in between, the sweep delivers the receipt. A repeated offer adds nothing.
 *
 * Fails with `TooManyReceiptsAddresses`; the workflow goes on.
 */
export const nameAddress = async (
  dependencies: Pick<Dependencies, 'stores' | 'queues' | 'admission' | 'timing' | 'now'>,
  { record, acceptTask, audience, url, space }: Named,
): Promise<Result<object>> => {
  const { stores, queues, timing, now } = dependencies
  const listening = { task: `${acceptTask.cid}`, audience, url }
  const id = listenerId(listening)
  if (record.listeners?.includes(id)) return { ok: {} }
  if ((record.listeners ?? []).length >= MAX_LISTENERS) return tooMany()
  const counted = await countToday(dependencies, space, { addresses: 1 }, (counts, time) =>
    findAddressExcess(counts, space, dependencies.admission, time),
  )
  if (counted.error) return counted
  await stores.listener.insert(newListener(listening, now(), timing.retryMs))
  const { record: current } = await update(stores.piece, { id: record.id }, current =>
    addListener(current, { id, attempt: record.attempt }),
  )
  // Another attempt has begun: the sweep delivers the receipt of this one.
  if (current === undefined || current.attempt !== record.attempt) return { ok: {} }
  if (!current.listeners?.includes(id)) {
    await stores.listener.removeMany([{ id }])
    return tooMany()
  }
  if (isFinal(current)) await queues.notify.send([{ id }])
  return { ok: {} }
}

const tooMany = () => ({
  error: failure(
    'TooManyReceiptsAddresses',
    `Offers of this workflow named ${MAX_LISTENERS} addresses for its receipt. Repeat the offer without an address to get its tasks, or with a nonce to start another workflow.`,
  ),
})
