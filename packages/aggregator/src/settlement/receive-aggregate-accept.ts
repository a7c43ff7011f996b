import type { Invocation, Receipt } from '@ucanto/interface'
import { endsAggregate, type Failure, failure, type Result } from '@w3filecoin/capabilities'
import { hasEffectBlocks, isExpectedTask } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { aggregateIn, dealerWords } from '../dialects/dealer-words.ts'
import { aggregateId, markEnded } from '../domain/aggregate.ts'
import { applyReceipt } from './apply-receipt.ts'

/**
 * Receives the dealer's receipt of an `aggregate/accept`, in its words, whether the dealer sent it or the aggregator fetched it. Only the
 * task that the dealer promised counts. A receipt without the blocks of its effects is not stored: the complete one is
 * fetched instead.
 */
export const receiveAggregateAccept = async (
  dependencies: Pick<Dependencies, 'id' | 'stores' | 'queues' | 'dealer' | 'timing' | 'now' | 'log'>,
  receipt: Receipt,
  ran: Invocation,
): Promise<Result<object>> => {
  const { id: self, stores, queues, dealer, timing, now, log } = dependencies
  const task = `${ran.cid}`
  if (receipt.issuer?.did() !== dealer.did)
    return { error: failure('UnknownTask', `${dealer.did} did not issue the receipt of ${task}`) }
  const aggregate = aggregateIn(ran.capabilities[0]?.nb)
  const id = aggregateId({ aggregate, nonce: ran.nonce })
  const record = await stores.aggregate.get({ id })
  if (record?.acceptCid !== task || !isExpectedTask(ran, dealerWords(self, dealer).promised(record)))
    return { error: failure('UnknownTask', `No aggregate waits for the receipt of ${task}`) }
  if (!hasEffectBlocks(receipt)) {
    await queues.deal.send([{ aggregate: id }])
    return { ok: {} }
  }
  const isDecided = await applyReceipt(dependencies, record, receipt, ({ out }) => {
    const error = out.error as Failure | undefined
    const isAccepted = out.ok !== undefined && aggregateIn(out.ok) === record.aggregate
    if (!isAccepted && !(error && endsAggregate(error))) return undefined
    return current => markEnded(current, isAccepted ? 'accepted' : 'failed', now(), timing, error)
  })
  if (isDecided) return { ok: {} }
  log('error', 'receipt decides nothing', {
    ...dealer.address,
    aggregate: record.aggregate,
    task,
    refusal: receipt.out.error,
  })
  return { error: failure('InvalidReceipt', `The receipt of ${task} does not decide about ${aggregate}`) }
}
