import { createHttpApp, onConclude, Server, type Service } from '@w3filecoin/runtime'
import { onReport } from './consumers/report.ts'
import { onRetry } from './consumers/retry.ts'
import { onTrack } from './consumers/track.ts'
import type { Dependencies } from './dependencies.ts'
import { aggregateAcceptHandler } from './handlers/aggregate-accept.ts'
import { aggregateOfferHandler } from './handlers/aggregate-offer.ts'
import type { messages } from './queues.ts'
import type { resources } from './resources.ts'
import { sweepDealer } from './sweep.ts'

/** The dealer: aggregators offer aggregates to it, and it has deals made for them. */
export const createDealer = (parts: Dependencies): Service<typeof resources, typeof messages> => {
  const { id, authority, stores, aggregators, log } = parts
  const { receipts } = stores
  const server = new Server({
    id,
    authority,
    handlers: [aggregateOfferHandler(parts), aggregateAcceptHandler(stores)],
    receipts,
    log,
  })
  return {
    api: createHttpApp({ server, receipts, name: 'dealer', log }),
    consumers: {
      track: onTrack(parts),
      report: onReport(parts),
      retry: onRetry(parts),
      conclude: onConclude({ id, receipts, peers: aggregators, log }),
    },
    schedules: { sweep: sweepDealer(parts) },
  }
}
