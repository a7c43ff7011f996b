import type { Invocation, Receipt } from '@ucanto/interface'
import { failure, type Result } from '@w3filecoin/capabilities'
import { hasEffectBlocks, update } from '@w3filecoin/runtime'
import type { Dependencies } from './dependencies.ts'
import { aggregateId, markEnded } from './domain/aggregate.ts'

type Parts = Pick<Dependencies, 'stores' | 'queues' | 'dealer' | 'timing' | 'now'>

const unknownTask = (message: string) => ({ error: failure('UnknownTask', message) })

/**
 * The dealer says what became of an aggregate: `aggregate/accept`, whether it was handed over or fetched. The
 * receipt is filed here too, with all its effects, and handed on to the storefront.
 */
export const receiveAggregateAccept = async (
  parts: Parts,
  receipt: Receipt,
  ran: Invocation,
): Promise<Result<object>> => {
  const { stores, queues, dealer } = parts
  const task = `${ran.cid}`
  if (receipt.issuer?.did() !== dealer.did) return unknownTask(`${task} was not run by our dealer`)
  const { aggregate } = (ran.capabilities[0]?.nb ?? {}) as { aggregate?: unknown }
  const id = aggregateId({ aggregate: `${aggregate}`, nonce: ran.nonce })
  const record = await stores.aggregate.get({ id })
  if (record?.acceptCid !== task) return unknownTask(`No aggregate waits for ${task}`)
  if (hasEffectBlocks(receipt)) await endAggregate(parts, record, receipt)
  else await queues.deal.send([{ aggregate: id }])
  return { ok: {} }
}

/** Files the receipt that says how an aggregate ended, notes what the one says that is filed, and hands it on. */
export const endAggregate = async (
  { stores, queues, timing, now }: Parts,
  { id, storefront }: { id: string; storefront: string },
  receipt: Receipt,
): Promise<void> => {
  const filed = await stores.receipts.put(receipt)
  const stage = filed.out.error ? 'failed' : 'accepted'
  await update(stores.aggregate, { id }, current => markEnded(current, stage, now(), timing))
  await queues.conclude.send([{ to: storefront, tasks: [`${receipt.ran.link()}`] }])
}
