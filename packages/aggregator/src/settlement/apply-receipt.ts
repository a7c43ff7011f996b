import type { Receipt } from '@ucanto/interface'
import { type Stored, update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import type { AggregateRecord } from '../domain/aggregate.ts'

/** Changes the record of an aggregate; `undefined` if the record has changed already. */
export type Change = (record: Stored<AggregateRecord>) => Stored<AggregateRecord> | undefined

/**
 * Stores a receipt that the dealer issued for an aggregate, changes the record, and sends the receipt to the storefront. If
 * another receipt of the task is stored already, that one decides.
 *
 * @param decide returns the change that a receipt causes; `undefined` if the receipt decides nothing. Such a receipt is
 * neither stored nor sent: the dealer may issue another one for the same task.
 * @returns whether the receipt decides anything
 */
export const applyReceipt = async (
  { stores, queues }: Pick<Dependencies, 'stores' | 'queues'>,
  record: Stored<AggregateRecord>,
  receipt: Receipt,
  decide: (receipt: Receipt) => Change | undefined,
): Promise<boolean> => {
  if (decide(receipt) === undefined) return false
  const change = decide(await stores.receipts.put(receipt))
  if (change) await update(stores.aggregate, { id: record.id }, change, { known: record })
  await queues.conclude.send([{ to: record.storefront, tasks: [`${receipt.ran.link()}`] }])
  return true
}
