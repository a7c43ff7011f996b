import type { StorefrontSettings } from '@w3filecoin/storefront/config'
import { resources } from '@w3filecoin/storefront/resources'
import type { Alarms } from './alarms.ts'
import type { Network } from './network.ts'
import { makeService } from './service.ts'

export const makeStorefront = (network: Network, alarms: Alarms): void => {
  const { stage, storefront, aggregator, dealer, dealTracker } = network
  makeService<StorefrontSettings>(resources, {
    member: storefront,
    stage,
    alarms,
    config: {
      ...stage.storefront,
      aggregator: aggregator.peer,
      dealer: dealer.peer,
      dealTracker: dealTracker.peer,
    },
  })
}
