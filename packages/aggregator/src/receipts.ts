import type { Invocation, Receipt } from '@ucanto/interface'
import { failure, type Result } from '@w3filecoin/capabilities'
import { update } from '@w3filecoin/service'
import type { Dependencies } from './dependencies.ts'
import { acceptedByDealer, aggregateId } from './domain/aggregate.ts'

type Parts = Pick<Dependencies, 'stores' | 'queues' | 'dealer' | 'timing' | 'now'>

const unknown = (message: string) => ({ error: failure('UnknownTask', message) })

/**
 * The dealer says what became of an aggregate: `aggregate/accept`, whether it was handed over or fetched. The
 * receipt is filed here too, and handed on to the storefront.
 */
export const takeAggregateAccept = async (
  { stores, queues, dealer, timing, now }: Parts,
  receipt: Receipt,
  ran: Invocation,
): Promise<Result<object>> => {
  const task = `${ran.cid}`
  if (receipt.issuer?.did() !== dealer.did) return unknown(`${task} was not run by our dealer`)
  const { aggregate } = (ran.capabilities[0]?.nb ?? {}) as { aggregate?: unknown }
  const id = aggregateId({ aggregate: `${aggregate}`, nonce: ran.nonce })
  const record = await stores.aggregates.get({ id })
  if (record?.accept !== task) return unknown(`No aggregate waits for ${task}`)
  if (receipt.out.error) return { ok: {} }
  await stores.receipts.put(receipt)
  await update(stores.aggregates, { id }, current => acceptedByDealer(current, now(), timing))
  await queues.conclude.send([{ to: record.storefront, tasks: [task] }])
  return { ok: {} }
}
