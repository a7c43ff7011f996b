import { update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { type CreditRecord, toCreditKey } from '../domain/credit.ts'
import type { OrderRecord } from '../domain/order.ts'

/**
 * Credits a place to an order, by one conditional write. So no other offer is accepted with it, and no other order is live with it.
 * Returns whether this order has the credit now.
 */
export const claimPlace = async (
  { stores, now }: Pick<Dependencies, 'stores' | 'now'>,
  { id, offer, aggregate }: Pick<OrderRecord, 'id' | 'offer' | 'aggregate'>,
  place: string,
): Promise<boolean> => {
  const deal = toCreditKey(place, aggregate)
  const credit: CreditRecord = { deal, aggregateId: offer, orderId: id, creditedAt: now() }
  const { error } = await stores.credit.insert(credit)
  if (error === undefined) return true
  // The offer may have been accepted with the place before the order was known to have made it.
  const { record } = await update(
    stores.credit,
    { deal },
    current =>
      current.orderId === undefined && current.aggregateId === offer
        ? { ...current, orderId: id }
        : undefined,
    { known: error.record },
  )
  return record?.orderId === id
}
