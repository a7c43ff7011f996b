import type { Fact } from '@ucanto/interface'
import { aggregateAccept, type Tasks } from '@w3filecoin/capabilities'
import { type Handler, promisedTask, unpackTask } from '@w3filecoin/runtime'
import { aggregateId, type Owner } from '../domain/aggregate.ts'
import type { Stores } from '../stores.ts'

/** `aggregate/accept`: returns the receipt that names the deal of an aggregate. */
export const aggregateAcceptHandler = ({ aggregate, receipts }: Stores): Handler =>
  promisedTask(aggregateAccept, receipts, async ({ capability: { nb }, invocation: { nonce, facts } }) => {
    const offer = { aggregate: `${nb.aggregate}`, piecesCid: `${nb.pieces}`, nonce }
    const first = await aggregate.get({ id: aggregateId(offer) })
    const later = facts.find(isLaterOffer)
    const record =
      first && later
        ? await aggregate.get({ id: aggregateId(offer, { aggregator: first.aggregator, ...later } as Owner) })
        : first
    return record?.acceptTask && `${(await unpackTask(record.acceptTask)).cid}`
  })

const isLaterOffer = (fact: Fact): fact is Fact & Tasks.LaterOffer =>
  typeof fact.storefront === 'string' && typeof fact.group === 'string'
