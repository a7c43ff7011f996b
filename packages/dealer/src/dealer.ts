import { createHttpApp, onConclude, onTranslate, runChecks, Server, type Service } from '@w3filecoin/runtime'
import { onFill } from './consumers/fill.ts'
import { onOrder } from './consumers/order.ts'
import { onReport } from './consumers/report.ts'
import { onRetry } from './consumers/retry.ts'
import { onTrack } from './consumers/track.ts'
import type { Dependencies } from './dependencies.ts'
import { dialectHandlers } from './dialects/handlers.ts'
import { translateAccept } from './dialects/translate.ts'
import { aggregateAcceptHandler } from './handlers/aggregate-accept.ts'
import { aggregateListHandler } from './handlers/aggregate-list.ts'
import { aggregateOfferHandler } from './handlers/aggregate-offer.ts'
import { dealReportHandler } from './handlers/deal-report.ts'
import type { messages } from './queues.ts'
import { resources } from './resources.ts'
import { sweepDealer } from './sweep.ts'
import { addWholeDoor, WHOLE_DOOR } from './whole-door.ts'

/** Creates the dealer: aggregators offer aggregates to it, and it has deals made for them. */
export const createDealer = (dependencies: Dependencies): Service<typeof resources, typeof messages> => {
  const { id, authority, stores, aggregators, timing, now, log } = dependencies
  const { receipts } = stores
  const server = new Server({
    id,
    authority,
    handlers: [
      aggregateOfferHandler(dependencies),
      aggregateAcceptHandler(stores),
      aggregateListHandler(dependencies),
      dealReportHandler(dependencies),
      ...dialectHandlers(dependencies),
    ],
    receipts,
    log,
  })
  const api = createHttpApp({
    server,
    receipts,
    name: 'dealer',
    paths: WHOLE_DOOR,
    // No index leads from a task to the record of its aggregate.
    progress: async tasks => tasks.map(() => 'unknown'),
    log,
  })
  addWholeDoor(api, dependencies)
  return {
    api,
    consumers: {
      track: onTrack(dependencies),
      report: onReport(dependencies),
      retry: onRetry(dependencies),
      order: onOrder(dependencies),
      fill: onFill(dependencies),
      conclude: onConclude({ id, receipts, peers: aggregators, log }),
      translate: onTranslate({
        id,
        stores,
        translate: translateAccept,
        timing,
        now,
      }),
    },
    schedules: {
      sweep: sweepDealer(dependencies),
      check: runChecks({ ...dependencies, service: resources.service, table: dependencies.stores.health }),
    },
  }
}
