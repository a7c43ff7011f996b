import type { Receipt } from '@ucanto/interface'
import { type Failure, namesInvalidPieces } from '@w3filecoin/capabilities'
import { isExpectedTask, type Stored, update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { dealerWords } from '../dialects/dealer-words.ts'
import { type AggregateRecord, markEnded, markOffered, recordProblem } from '../domain/aggregate.ts'
import { applyReceipt } from './apply-receipt.ts'

/**
 * Handles the dealer's answer to the offer of an aggregate. The dealer promises `aggregate/accept`, in its words, or it refuses the
 * aggregate because of invalid pieces. Every other refusal concerns the sender or the request, and may change.
 */
export const receiveAnswer = async (
  dependencies: Pick<Dependencies, 'id' | 'stores' | 'queues' | 'dealer' | 'timing' | 'now' | 'log'>,
  record: Stored<AggregateRecord>,
  receipt: Receipt,
): Promise<void> => {
  const { id, stores, dealer, timing, now, log } = dependencies
  const { aggregate, pieces } = record
  const isDecided = await applyReceipt(dependencies, record, receipt, ({ out, fx: { join } }) => {
    const refusal = out.error as Failure | undefined
    if (refusal && namesInvalidPieces(refusal))
      return current => markEnded(current, 'failed', now(), timing, refusal)
    return refusal === undefined &&
      isExpectedTask(join, dealerWords(id, dealer).promised({ aggregate, pieces }))
      ? current => markOffered(current, `${join.cid}`, now(), timing)
      : undefined
  })
  // The configuration or the dealer must be corrected. Until then, the sweep repeats the offer.
  if (isDecided) return
  const refusal = receipt.out.error as Failure | undefined
  log('error', 'aggregate refused', { ...dealer.address, aggregate, refusal })
  const problem = refusal
    ? `The dealer refuses the aggregate: ${refusal.name}: ${refusal.message}`
    : 'The answer of the dealer does not promise its outcome'
  await update(
    stores.aggregate,
    { id: record.id },
    current => recordProblem(current, record.stage, problem, now(), timing),
    { known: record },
  )
}
