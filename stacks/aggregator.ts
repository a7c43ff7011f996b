import { resources } from '@w3filecoin/aggregator/resources'
import type { Alarms } from './alarms.ts'
import type { Network } from './network.ts'
import { makeService } from './service.ts'

export const makeAggregator = (network: Network, alarms: Alarms): void => {
  const { stage, storefront, aggregator, dealer } = network
  makeService(resources, {
    member: aggregator,
    stage,
    alarms,
    config: {
      storefronts: [storefront.peer, ...(stage.storefronts ?? [])],
      dealer: dealer.peer,
      limits: stage.limits,
    },
  })
}
