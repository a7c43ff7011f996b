import { concludeHandler, createHttpApp, Server, type Service } from '@w3filecoin/runtime'
import { onAggregation } from './consumers/aggregation.ts'
import { onOutcome } from './consumers/outcome.ts'
import { onSubmit } from './consumers/submit.ts'
import type { Dependencies } from './dependencies.ts'
import { filecoinAcceptHandler } from './handlers/filecoin-accept.ts'
import { filecoinInfoHandler } from './handlers/filecoin-info.ts'
import { filecoinOfferHandler } from './handlers/filecoin-offer.ts'
import { filecoinSubmitHandler } from './handlers/filecoin-submit.ts'
import type { messages } from './queues.ts'
import { receiveAggregateOutcome, receivePieceAccept } from './receipts.ts'
import type { resources } from './resources.ts'
import { sweepStorefront } from './sweep.ts'

/** The storefront: agents offer content pieces to it, and find the proof of a deal with it. */
export const createStorefront = (parts: Dependencies): Service<typeof resources, typeof messages> => {
  const { id, authority, stores, now, log } = parts
  const server = new Server({
    id,
    authority,
    handlers: [
      filecoinOfferHandler(parts),
      filecoinSubmitHandler(stores),
      filecoinAcceptHandler(stores),
      filecoinInfoHandler(parts),
      concludeHandler({
        authority,
        now,
        senders: [parts.aggregator.did, parts.dealer],
        routes: {
          'piece/accept': receipt => receivePieceAccept(parts, receipt),
          'aggregate/offer': (receipt, ran) => receiveAggregateOutcome(parts, receipt, ran),
          'aggregate/accept': (receipt, ran) => receiveAggregateOutcome(parts, receipt, ran),
        },
      }),
    ],
    receipts: stores.receipts,
    log,
  })
  return {
    api: createHttpApp({ server, receipts: stores.receipts, name: 'storefront', log }),
    consumers: { submit: onSubmit(parts), aggregation: onAggregation(parts), outcome: onOutcome(parts) },
    schedules: { sweep: sweepStorefront(parts) },
  }
}
