import { DIALECTS } from '@w3filecoin/capabilities/vocabulary'
import type { DealTrackerSettings } from '@w3filecoin/deal-tracker/config'
import { resources } from '@w3filecoin/deal-tracker/resources'
import type { Network } from './network.ts'
import { type MadeService, makeService } from './service.ts'

export const makeDealTracker = (network: Network): MadeService => {
  const { stage, storefront, aggregator, dealer, dealTracker } = network
  return makeService<DealTrackerSettings>(resources, {
    member: dealTracker,
    stage,
    config: {
      dialects: [...DIALECTS],
      ...stage.dealTracker,
      production: stage.production,
      clients: [storefront.peer, aggregator.peer, dealer.peer, ...(stage.dealTracker.clients ?? [])],
    },
  })
}
