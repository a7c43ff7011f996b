import type { AggregatorSettings } from '@w3filecoin/aggregator/config'
import { resources } from '@w3filecoin/aggregator/resources'
import { DIALECTS } from '@w3filecoin/capabilities/vocabulary'
import type { Network } from './network.ts'
import { type MadeService, makeService } from './service.ts'

export const makeAggregator = (network: Network): MadeService => {
  const { stage, storefront, aggregator, dealer } = network
  return makeService<AggregatorSettings>(resources, {
    member: aggregator,
    stage,
    config: {
      dialects: [...DIALECTS],
      ...stage.aggregator,
      storefronts: [storefront.peer, ...(stage.aggregator.storefronts ?? [])],
      dealer: dealer.peer,
    },
  })
}
