import type { Failure } from '@w3filecoin/capabilities'
import {
  type Consumer,
  DONE,
  each,
  hasEffectBlocks,
  isTask,
  reach,
  type Stored,
  unpackTask,
  update,
} from '@w3filecoin/runtime'
import type { Link } from 'multiformats'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import { type AggregateRecord, markOffered } from '../domain/aggregate.ts'
import { type DealMessage, dealMessage } from '../queues.ts'
import { endAggregate } from '../settlement/end-aggregate.ts'
import { receiveAggregateAccept } from '../settlement/receive-aggregate-accept.ts'

type DealDependencies = Pick<Dependencies, 'stores' | 'queues' | 'dealer' | 'timing' | 'now' | 'log'>

/**
 * On `deal`, offer a sealed aggregate to the dealer. If it was already offered, fetch the outcome in case its delivery
 * was lost.
 */
export const onDeal = (dependencies: DealDependencies): Consumer<DealMessage> =>
  each(
    dealMessage,
    async ({ aggregate: id }) => {
      const record = await dependencies.stores.aggregate.get({ id })
      if (record !== undefined) await advance(dependencies, record)
      return DONE
    },
    { concurrency: 1 },
  )

const advance = (dependencies: DealDependencies, record: Stored<AggregateRecord>): Promise<void> => {
  switch (record.stage) {
    case 'sealed':
      return offerAggregate(dependencies, record)
    case 'offered':
      return fetchOutcome(dependencies, record)
    case 'accepted':
    case 'failed':
      return Promise.resolve()
  }
}

/**
 * Offers an aggregate with the list of its pieces, and records the task that the dealer promises. If the dealer rejects
 * pieces, the aggregate has failed.
 */
const offerAggregate = async (
  dependencies: DealDependencies,
  record: Stored<AggregateRecord>,
): Promise<void> => {
  const { stores, dealer, timing, now, log } = dependencies
  const cid = parseLink(record.pieces) as Link
  const bytes = await stores.blocks.get(cid)
  if (bytes === undefined)
    throw new Error(`The block ${cid} with the list of pieces of ${record.aggregate} is missing`)
  const offer = await unpackTask(record.offerTask)
  offer.attach({ cid, bytes })
  const answers = await reach(dealer, () => dealer.execute([offer]), log)
  if (answers.error) return
  const [answer] = answers.ok
  const refusal = (answer?.error ?? answer?.ok.out.error) as Failure | undefined
  if (answer?.ok && isFinalRefusal(refusal)) {
    const refused = hasEffectBlocks(answer.ok)
      ? answer.ok
      : (await reach(dealer, () => dealer.receipt(`${offer.cid}`), log)).ok
    if (refused) await endAggregate(dependencies, record, refused)
    return
  }
  const join = answer?.ok?.fx.join
  if (!answer?.ok || refusal || join === undefined) {
    // The configuration or the dealer must be corrected. Until then, the sweep repeats the offer.
    log('error', 'aggregate refused', { aggregate: record.aggregate, refusal })
    return
  }
  await stores.receipts.put(answer.ok)
  await update(stores.aggregate, { id: record.id }, current =>
    markOffered(current, `${join.link()}`, now(), timing),
  )
}

const fetchOutcome = async (
  dependencies: DealDependencies,
  record: Stored<AggregateRecord>,
): Promise<void> => {
  const { dealer, log } = dependencies
  const { ok: receipt } = await reach(dealer, () => dealer.receipt(record.acceptCid as string), log)
  if (receipt && isTask(receipt.ran)) await receiveAggregateAccept(dependencies, receipt, receipt.ran)
}

/** Whether the dealer rejects pieces. Every other refusal concerns the sender or the request, and may change. */
const isFinalRefusal = (refusal: Failure | undefined): boolean =>
  refusal?.name === 'InvalidPiece' && Array.isArray(refusal.cause) && refusal.cause.length > 0
