import { listAll } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { needsWhole } from '../domain/order.ts'

/** Offers of one aggregate whose orders are read. */
const MAX_OFFERS = 100

/**
 * Whether an order needs the whole of an aggregate, of whichever offer: its target was not asked yet, or may be storing it. After the
 * copies are live, a whole is kept for some time, because another copy may be needed soon. A failed offer gets no further copies.
 */
export const isNeeded = async (
  { stores, keepWholeMs, now }: Pick<Dependencies, 'stores' | 'keepWholeMs' | 'now'>,
  aggregate: string,
): Promise<boolean> => {
  const { items } = await stores.aggregate.find('aggregate', aggregate, { limit: MAX_OFFERS })
  // The index does not have the offer yet.
  if (items.length === 0) return true
  for (const offer of await stores.aggregate.getMany(items)) {
    if (offer === undefined) continue
    const orders = await listAll(stores.order, offer.id)
    if (orders.some(needsWhole)) return true
    const since = Math.max(...orders.map(({ stageAt }) => stageAt))
    if (offer.stage !== 'failed' && now() < since + keepWholeMs) return true
  }
  return false
}
