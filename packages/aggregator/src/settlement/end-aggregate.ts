import type { Receipt } from '@ucanto/interface'
import { update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { type AggregateRecord, markEnded } from '../domain/aggregate.ts'

/**
 * Stores the dealer's final receipt for an aggregate, and sends it to the storefront. If another receipt of the task is
 * stored already, that one decides how the aggregate ended.
 */
export const endAggregate = async (
  { stores, queues, timing, now }: Pick<Dependencies, 'stores' | 'queues' | 'timing' | 'now'>,
  { id, storefront }: Pick<AggregateRecord, 'id' | 'storefront'>,
  receipt: Receipt,
): Promise<void> => {
  const stored = await stores.receipts.put(receipt)
  const stage = stored.out.error ? 'failed' : 'accepted'
  await update(stores.aggregate, { id }, current => markEnded(current, stage, now(), timing))
  await queues.conclude.send([{ to: storefront, tasks: [`${receipt.ran.link()}`] }])
}
