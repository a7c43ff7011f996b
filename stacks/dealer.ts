import { resources } from '@w3filecoin/dealer/resources'
import type { Alarms } from './alarms.ts'
import type { Network } from './network.ts'
import { makeService } from './service.ts'

export const makeDealer = (network: Network, alarms: Alarms): void => {
  const { stage, aggregator, dealer, dealTracker } = network
  makeService(resources, {
    member: dealer,
    stage,
    alarms,
    config: {
      aggregators: [aggregator.peer, ...(stage.aggregators ?? [])],
      dealTracker: dealTracker.peer,
    },
  })
}
