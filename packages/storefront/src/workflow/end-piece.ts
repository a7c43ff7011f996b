import type { Failure, Task } from '@w3filecoin/capabilities'
import { issueReceipt, type Outcome, type Stored, update } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import { markEnded, type PieceRecord } from '../domain/piece.ts'
import { readPromises } from './promises.ts'

type EndDependencies = Pick<Dependencies, 'id' | 'stores' | 'queues' | 'now'>

/** The end of a workflow. */
interface End {
  record: Stored<PieceRecord>
  out: Outcome['out']
}

/** Records that are written in parallel. */
const MAX_PARALLEL_WRITES = 10

/**
 * Ends the workflows of pieces, or the attempts that they are at. Stores the receipts of `filecoin/accept` first. The records
 * follow the stored receipts, because a concurrent run may have stored others. Last, it has the receipts delivered to the addresses
 * that agents named.
 *
 * @returns the present records
 */
export const endPieces = async (
  { id, stores, queues, now }: EndDependencies,
  ends: readonly End[],
): Promise<(Stored<PieceRecord> | undefined)[]> => {
  const accepts = await readPromises(
    stores,
    ends.map(({ record }) => record),
    'accept',
  )
  const receipts = await stores.receipts.putMany(
    await Promise.all(ends.map(({ out }, n) => issueReceipt(id, accepts[n] as Task, { out }))),
  )
  const ended = await pMap(
    ends,
    ({ record }, n) => {
      const end = { attempt: record.attempt, reason: receipts[n]?.out.error as Failure | undefined }
      return update(stores.piece, { id: record.id }, current => markEnded(current, end, now()), {
        known: record,
      })
    },
    { concurrency: MAX_PARALLEL_WRITES },
  )
  const listeners = ended.flatMap(({ record }) => record?.listeners ?? [])
  if (listeners.length > 0) await queues.notify.send(listeners.map(id => ({ id })))
  return ended.map(({ record }) => record)
}

/** Ends the workflow of one piece: see {@link endPieces}. */
export const endPiece = async (
  dependencies: EndDependencies,
  record: Stored<PieceRecord>,
  out: Outcome['out'],
): Promise<Stored<PieceRecord> | undefined> => (await endPieces(dependencies, [{ record, out }]))[0]
