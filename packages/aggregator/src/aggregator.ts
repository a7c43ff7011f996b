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
import type { resources } from './resources.ts'
import { receiveAggregateAccept } from './settlement/receive-aggregate-accept.ts'
import { sweepAggregator } from './sweep.ts'

/** Creates the aggregator: storefronts offer pieces to it, and it offers aggregates of them to the dealer. */
export const createAggregator = (dependencies: Dependencies): Service<typeof resources, typeof messages> => {
  const { id, authority, stores, storefronts, dealer, now, log } = dependencies
  const { receipts } = stores
  const server = new Server({
    id,
    authority,
    handlers: [
      pieceOfferHandler(dependencies),
      pieceAcceptHandler(stores),
      pieceInfoHandler(dependencies),
      concludeHandler({
        authority,
        now,
        senders: { dealer: dealer.did },
        routes: { 'aggregate/accept': (receipt, ran) => receiveAggregateAccept(dependencies, receipt, ran) },
      }),
    ],
    receipts,
    log,
  })
  return {
    api: createHttpApp({ server, receipts, name: 'aggregator', log }),
    consumers: {
      piece: onPiece(dependencies),
      seal: onSeal(dependencies),
      include: onInclude(dependencies),
      deal: onDeal(dependencies),
      conclude: onConclude({ id, receipts, peers: storefronts, log }),
    },
    schedules: { sweep: sweepAggregator(dependencies) },
  }
}
