import type { Invocation, Receipt } from '@ucanto/interface'
import { failure, type Result } from '@w3filecoin/capabilities'
import { hasEffectBlocks } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { aggregateId } from '../domain/aggregate.ts'
import { endAggregate } from './end-aggregate.ts'

/**
 * Receives the dealer's receipt of an `aggregate/accept`, whether the dealer sent it or the aggregator fetched it. A
 * receipt without the blocks of its effects is not stored: the complete one is fetched instead.
 */
export const receiveAggregateAccept = async (
  dependencies: Pick<Dependencies, 'stores' | 'queues' | 'dealer' | 'timing' | 'now'>,
  receipt: Receipt,
  ran: Invocation,
): Promise<Result<object>> => {
  const { stores, queues, dealer } = dependencies
  const task = `${ran.cid}`
  if (receipt.issuer?.did() !== dealer.did)
    return { error: failure('UnknownTask', `${dealer.did} did not issue the receipt of ${task}`) }
  const { aggregate } = (ran.capabilities[0]?.nb ?? {}) as { aggregate?: unknown }
  const id = aggregateId({ aggregate: `${aggregate}`, nonce: ran.nonce })
  const record = await stores.aggregate.get({ id })
  if (record?.acceptCid !== task)
    return { error: failure('UnknownTask', `No aggregate waits for the receipt of ${task}`) }
  if (hasEffectBlocks(receipt)) await endAggregate(dependencies, record, receipt)
  else await queues.deal.send([{ aggregate: id }])
  return { ok: {} }
}
