import { concludeHandler, createHttpApp, onConclude, Server, type Service } from '@w3filecoin/runtime'
import { onAggregateOffer } from './consumers/aggregate-offer.ts'
import { onInclude } from './consumers/include.ts'
import { onPiece } from './consumers/piece.ts'
import { onSeal } from './consumers/seal.ts'
import type { Dependencies } from './dependencies.ts'
import { pieceAcceptHandler } from './handlers/piece-accept.ts'
import { pieceInfoHandler } from './handlers/piece-info.ts'
import { pieceOfferHandler } from './handlers/piece-offer.ts'
import { takeAggregateAccept } from './receipts.ts'
import { sweepAggregator } from './sweep.ts'

/** The aggregator: storefronts offer pieces to it, and it makes aggregates of them for the dealer. */
export const createAggregator = (parts: Dependencies): Service => {
  const { id, authority, stores, storefronts, now, log } = parts
  const { receipts } = stores
  const server = new Server({
    id,
    authority,
    handlers: [
      pieceOfferHandler(parts),
      pieceAcceptHandler(stores),
      pieceInfoHandler(parts),
      concludeHandler({
        authority,
        now,
        from: [parts.dealer.did],
        take: { 'aggregate/accept': (receipt, ran) => takeAggregateAccept(parts, receipt, ran) },
      }),
    ],
    receipts,
    log,
  })
  return {
    api: createHttpApp({ server, receipts, name: 'aggregator', log }),
    consumers: {
      piece: onPiece(parts),
      seal: onSeal(parts),
      include: onInclude(parts),
      aggregateOffer: onAggregateOffer(parts),
      conclude: onConclude({ id, receipts, peers: storefronts, log }),
    },
    schedules: { sweep: sweepAggregator(parts) },
  }
}
