import type { Dependencies } from '../dependencies.ts'
import type { CreditRecord } from '../domain/credit.ts'
import type { OrderRecord } from '../domain/order.ts'

/**
 * Credits a place to an order, by one conditional write. So no other offer is accepted with it, and no other order is live with it.
 * Returns whether this order has the credit now.
 */
export const claimPlace = async (
  { stores, now }: Pick<Dependencies, 'stores' | 'now'>,
  { id, offer }: Pick<OrderRecord, 'id' | 'offer'>,
  place: string,
): Promise<boolean> => {
  const credit: CreditRecord = { deal: place, aggregateId: offer, orderId: id, creditedAt: now() }
  const { ok, error } = await stores.credit.insert(credit)
  if (ok) return true
  const { record } = error
  if (record.orderId !== undefined || record.aggregateId !== offer) return record.orderId === id
  // The offer was accepted with the place before the order was known to have made it.
  return (await stores.credit.replace({ ...record, orderId: id })).ok !== undefined
}
