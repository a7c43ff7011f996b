import type { AggregatorSettings } from '@w3filecoin/aggregator/config'
import { resources } from '@w3filecoin/aggregator/resources'
import { DIALECTS } from '@w3filecoin/capabilities/vocabulary'
import type { Alarms } from './alarms.ts'
import type { Network } from './network.ts'
import { makeService } from './service.ts'

export const makeAggregator = (network: Network, alarms: Alarms): void => {
  const { stage, storefront, aggregator, dealer } = network
  makeService<AggregatorSettings>(resources, {
    member: aggregator,
    stage,
    alarms,
    config: {
      dialects: [...DIALECTS],
      ...stage.aggregator,
      storefronts: [storefront.peer, ...(stage.aggregator.storefronts ?? [])],
      dealer: dealer.peer,
    },
  })
}
