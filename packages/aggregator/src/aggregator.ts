import { concludeHandler, createHttpApp, onConclude, Server, type Service } from '@w3filecoin/runtime'
import { onDeal } from './consumers/deal.ts'
import { onInclude } from './consumers/include.ts'
import { onPiece } from './consumers/piece.ts'
import { onSeal } from './consumers/seal.ts'
import type { Dependencies } from './dependencies.ts'
import { pieceAcceptHandler } from './handlers/piece-accept.ts'
import { pieceInfoHandler } from './handlers/piece-info.ts'
import { pieceOfferHandler } from './handlers/piece-offer.ts'
import type { messages } from './queues.ts'
import { receiveAggregateAccept } from './receipts.ts'
import type { resources } from './resources.ts'
import { sweepAggregator } from './sweep.ts'

/** The aggregator: storefronts offer pieces to it, and it makes aggregates of them for the dealer. */
export const createAggregator = (parts: Dependencies): Service<typeof resources, typeof messages> => {
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
        senders: [parts.dealer.did],
        routes: { 'aggregate/accept': (receipt, ran) => receiveAggregateAccept(parts, receipt, ran) },
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
      deal: onDeal(parts),
      conclude: onConclude({ id, receipts, peers: storefronts, log }),
    },
    schedules: { sweep: sweepAggregator(parts) },
  }
}
