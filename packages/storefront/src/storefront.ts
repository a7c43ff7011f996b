import { concludeHandler, createHttpApp, Server, type Service } from '@w3filecoin/runtime'
import { onAccept } from './consumers/accept.ts'
import { onPieceOffer } from './consumers/piece-offer.ts'
import { onSubmit } from './consumers/submit.ts'
import type { Dependencies } from './dependencies.ts'
import { filecoinAcceptHandler } from './handlers/filecoin-accept.ts'
import { filecoinInfoHandler } from './handlers/filecoin-info.ts'
import { filecoinOfferHandler } from './handlers/filecoin-offer.ts'
import { filecoinSubmitHandler } from './handlers/filecoin-submit.ts'
import { takeAggregateOutcome, takePieceAccept } from './receipts.ts'
import { sweepStorefront } from './sweep.ts'

/** The storefront: agents offer content pieces to it, and find the proof of a deal with it. */
export const createStorefront = (parts: Dependencies): Service => {
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
        from: [parts.aggregator.did, parts.dealer],
        take: {
          'piece/accept': receipt => takePieceAccept(parts, receipt),
          'aggregate/offer': (receipt, ran) => takeAggregateOutcome(parts, receipt, ran),
          'aggregate/accept': (receipt, ran) => takeAggregateOutcome(parts, receipt, ran),
        },
      }),
    ],
    receipts: stores.receipts,
    log,
  })
  return {
    api: createHttpApp({ server, receipts: stores.receipts, name: 'storefront', log }),
    consumers: { submit: onSubmit(parts), pieceOffer: onPieceOffer(parts), accept: onAccept(parts) },
    schedules: { sweep: sweepStorefront(parts) },
  }
}
