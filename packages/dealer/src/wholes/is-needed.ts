import { listAll } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { needsWhole } from '../domain/order.ts'
import { findOffers } from '../offers/find-offers.ts'

/**
 * Whether an order needs the whole of an aggregate, of whichever offer: its target was not asked yet, or may be storing it. After the
 * copies are live, a whole is kept for some time, because another copy may be needed soon. A failed offer gets no further copies.
 */
export const isNeeded = async (
  { stores, keepWholeMs, now }: Pick<Dependencies, 'stores' | 'keepWholeMs' | 'now'>,
  aggregate: string,
): Promise<boolean> => {
  const offers = await findOffers({ stores }, aggregate)
  // The index does not have the offer yet.
  if (offers.length === 0) return true
  for (const offer of offers) {
    const orders = await listAll(stores.order, offer.id)
    if (orders.some(needsWhole)) return true
    const since = Math.max(...orders.map(({ stageAt }) => stageAt))
    if (offer.stage !== 'failed' && now() < since + keepWholeMs) return true
  }
  return false
}
