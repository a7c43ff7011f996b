import type { Failure, Task } from '@w3filecoin/capabilities'
import { issueReceipt, type Outcome, type Stored, update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { markEnded, type PieceRecord } from '../domain/piece.ts'
import { readPromises } from './promises.ts'

/**
 * Ends the workflow of a piece, or the attempt that it is at. Stores the receipt of `filecoin/accept` first. The record
 * follows the stored receipt, because a concurrent run may have stored another one. Last, it has the receipt delivered to the
 * addresses that agents named.
 *
 * @returns the present record
 */
export const endPiece = async (
  { id, stores, queues, now }: Pick<Dependencies, 'id' | 'stores' | 'queues' | 'now'>,
  record: Stored<PieceRecord>,
  out: Outcome['out'],
): Promise<Stored<PieceRecord> | undefined> => {
  const [accept] = (await readPromises(stores, [record], 'accept')) as [Task]
  const receipt = await stores.receipts.put(await issueReceipt(id, accept, { out }))
  const end = { attempt: record.attempt, reason: receipt.out.error as Failure | undefined }
  const ended = await update(stores.piece, { id: record.id }, current => markEnded(current, end, now()), {
    known: record,
  })
  const { listeners = [] } = ended.record ?? {}
  if (listeners.length > 0) await queues.notify.send(listeners.map(id => ({ id })))
  return ended.record
}
