import { isDelegation } from '@ucanto/core/delegation'
import type { Invocation, Link } from '@ucanto/interface'
import type { Failure } from '@w3filecoin/capabilities'
import { type Consumer, DONE, each, unpackTask, update } from '@w3filecoin/service'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import { offeredToDealer } from '../domain/aggregate.ts'
import { type AggregateOfferMessage, aggregateOfferMessage } from '../queues.ts'
import { endAggregate, takeAggregateAccept } from '../receipts.ts'

/**
 * On `aggregateOffer`, offer an aggregate with the list of its pieces to the dealer, and note what it promises. Of one
 * that was offered already, fetch the outcome, should it not have arrived. Where the dealer finds pieces at fault, the
 * aggregate has failed.
 */
export const onAggregateOffer = (
  parts: Pick<Dependencies, 'stores' | 'queues' | 'dealer' | 'timing' | 'now'>,
): Consumer<AggregateOfferMessage> => {
  const { stores, dealer, timing, now } = parts
  return each(
    body => aggregateOfferMessage.parse(body),
    async ({ aggregate: id }) => {
      const record = await stores.aggregates.get({ id })
      if (record?.stage === 'offered') {
        const receipt = await dealer.receipt(record.accept as string)
        if (receipt && isDelegation(receipt.ran as never))
          await takeAggregateAccept(parts, receipt, receipt.ran as Invocation)
      }
      if (record?.stage !== 'sealed') return DONE
      const cid = parseLink(record.pieces) as Link
      const bytes = await stores.blocks.get(cid as never)
      if (bytes === undefined) throw new Error(`The list of pieces of ${record.aggregate} is missing`)
      const offer = await unpackTask(record.offer)
      offer.attach({ cid, bytes } as never)
      const [answer] = await dealer.execute([offer])
      if (answer?.ok === undefined) return { error: answer?.error ?? new Error('The dealer did not answer') }
      const refusal = answer.ok.out.error as Failure | undefined
      if (isFinal(refusal)) {
        await endAggregate(parts, record, answer.ok)
        return DONE
      }
      const join = answer.ok.fx.join
      if (refusal || join === undefined) return { error: refusal ?? new Error('The dealer promised nothing') }
      await stores.receipts.put(answer.ok)
      await update(stores.aggregates, { id }, current =>
        offeredToDealer(current, `${join.link()}`, now(), timing),
      )
      return DONE
    },
    { concurrency: 1 },
  )
}

/** Other refusals are about who asks and how, which people mend. */
const isFinal = (refusal: Failure | undefined): boolean =>
  refusal?.name === 'InvalidPiece' && Array.isArray(refusal.cause) && refusal.cause.length > 0
