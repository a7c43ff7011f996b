import { DIALECTS } from '@w3filecoin/capabilities/vocabulary'
import type { DealTrackerSettings } from '@w3filecoin/deal-tracker/config'
import { resources } from '@w3filecoin/deal-tracker/resources'
import type { Alarms } from './alarms.ts'
import type { Network } from './network.ts'
import { makeService } from './service.ts'

export const makeDealTracker = (network: Network, alarms: Alarms): void => {
  const { stage, storefront, aggregator, dealer, dealTracker } = network
  makeService<DealTrackerSettings>(resources, {
    member: dealTracker,
    stage,
    alarms,
    config: {
      dialects: [...DIALECTS],
      ...stage.dealTracker,
      production: stage.production,
      clients: [storefront.peer, aggregator.peer, dealer.peer, ...(stage.dealTracker.clients ?? [])],
    },
  })
}
