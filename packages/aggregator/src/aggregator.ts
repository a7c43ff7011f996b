import {
  concludeHandler,
  createHttpApp,
  onConclude,
  onTranslate,
  runChecks,
  Server,
  type Service,
} from '@w3filecoin/runtime'
import { onDeal } from './consumers/deal.ts'
import { onInclude } from './consumers/include.ts'
import { onPiece } from './consumers/piece.ts'
import { onSeal } from './consumers/seal.ts'
import type { Dependencies } from './dependencies.ts'
import { dealerWords } from './dialects/dealer-words.ts'
import { dialectHandlers } from './dialects/handlers.ts'
import { translateAccept } from './dialects/translate.ts'
import { pieceAcceptHandler } from './handlers/piece-accept.ts'
import { pieceInfoHandler } from './handlers/piece-info.ts'
import { pieceOfferHandler } from './handlers/piece-offer.ts'
import { listByMessage } from './offers/list-pieces.ts'
import type { messages } from './queues.ts'
import { resources } from './resources.ts'
import { receiveAggregateAccept } from './settlement/receive-aggregate-accept.ts'
import { sweepAggregator } from './sweep.ts'

/** Creates the aggregator: storefronts offer pieces to it, and it offers aggregates of them to the dealer. */
export const createAggregator = (dependencies: Dependencies): Service<typeof resources, typeof messages> => {
  const { id, authority, stores, storefronts, dealer, dialects, timing, now, log } = dependencies
  const { receipts } = stores
  const offering = { ...dependencies, list: listByMessage(dependencies) }
  /** The ability of the dealer's task that decides about an aggregate. */
  const settles = dealerWords(id, dealer).promised({ aggregate: '', pieces: '' }).can
  const server = new Server({
    id,
    authority,
    handlers: [
      pieceOfferHandler(offering),
      pieceAcceptHandler(stores),
      pieceInfoHandler(dependencies),
      concludeHandler({
        authority,
        now,
        senders: { dealer: dealer.did },
        routes: {
          [settles]: (receipt, ran) => receiveAggregateAccept(dependencies, receipt, ran),
        },
      }),
      ...dialectHandlers(offering),
    ],
    receipts,
    log,
  })
  return {
    api: createHttpApp({
      server,
      receipts,
      name: 'aggregator',
      // No index leads from a task to the record of its piece.
      progress: async tasks => tasks.map(() => 'unknown'),
      elsewhere: async (task, isFollowing) =>
        isFollowing && dialects.length > 0 ? dealer.chainUrl(task) : undefined,
      log,
    }),
    consumers: {
      piece: onPiece(dependencies),
      seal: onSeal(dependencies),
      include: onInclude(dependencies),
      deal: onDeal(dependencies),
      conclude: onConclude({ id, receipts, peers: storefronts, log }),
      translate: onTranslate({
        id,
        stores,
        translate: (record, receipt) => translateAccept(dependencies, record, receipt),
        timing,
        now,
      }),
    },
    schedules: {
      sweep: sweepAggregator(dependencies),
      check: runChecks({ ...dependencies, service: resources.service, table: dependencies.stores.health }),
    },
  }
}
