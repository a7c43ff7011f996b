import { isDelegation } from '@ucanto/core/delegation'
import type { Invocation, Link } from '@ucanto/interface'
import type { Failure } from '@w3filecoin/capabilities'
import { type Consumer, DONE, each, hasEffectBlocks, reach, unpackTask, update } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import { markOffered } from '../domain/aggregate.ts'
import { type DealMessage, dealMessage } from '../queues.ts'
import { endAggregate, receiveAggregateAccept } from '../receipts.ts'

/**
 * On `aggregateOffer`, offer an aggregate with the list of its pieces to the dealer, and note what it promises. Of one
 * that was offered already, fetch the outcome, should it not have arrived. Where the dealer finds pieces at fault, the
 * aggregate has failed.
 */
export const onDeal = (
  parts: Pick<Dependencies, 'stores' | 'queues' | 'dealer' | 'timing' | 'now' | 'log'>,
): Consumer<DealMessage> => {
  const { stores, dealer, timing, now, log } = parts
  return each(
    dealMessage,
    async ({ aggregate: id }) => {
      const record = await stores.aggregate.get({ id })
      if (record?.stage === 'offered') {
        const { ok: receipt } = await reach(dealer, () => dealer.receipt(record.acceptCid as string), log)
        if (receipt && isDelegation(receipt.ran as never))
          await receiveAggregateAccept(parts, receipt, receipt.ran as Invocation)
      }
      if (record?.stage !== 'sealed') return DONE
      const cid = parseLink(record.pieces) as Link
      const bytes = await stores.blocks.get(cid as never)
      if (bytes === undefined) throw new Error(`The list of pieces of ${record.aggregate} is missing`)
      const offer = await unpackTask(record.offerTask)
      offer.attach({ cid, bytes } as never)
      const answers = await reach(dealer, () => dealer.execute([offer]), log)
      if (answers.error) return DONE
      const [answer] = answers.ok
      const refusal = (answer?.error ?? answer?.ok.out.error) as Failure | undefined
      if (answer?.ok && isFinal(refusal)) {
        const refused = hasEffectBlocks(answer.ok)
          ? answer.ok
          : (await reach(dealer, () => dealer.receipt(`${offer.cid}`), log)).ok
        if (refused) await endAggregate(parts, record, refused)
        return DONE
      }
      const join = answer?.ok?.fx.join
      if (!answer?.ok || refusal || join === undefined) {
        // About who asks, or how: people mend that. The record's time says when to ask again.
        log('error', 'aggregate refused', { aggregate: record.aggregate, refusal })
        return DONE
      }
      await stores.receipts.put(answer.ok)
      await update(stores.aggregate, { id }, current => markOffered(current, `${join.link()}`, now(), timing))
      return DONE
    },
    { concurrency: 1 },
  )
}

/** Other refusals are about who asks and how, which people mend. */
const isFinal = (refusal: Failure | undefined): boolean =>
  refusal?.name === 'InvalidPiece' && Array.isArray(refusal.cause) && refusal.cause.length > 0
