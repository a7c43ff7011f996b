import { DIALECTS, VOCABULARIES } from '@w3filecoin/capabilities/vocabulary'
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
      dialects: [...DIALECTS],
      ...stage.storefront,
      aggregator: aggregator.peer.apply(peer => ({ ...peer, speaks: [...VOCABULARIES] })),
      dealer: dealer.peer,
      dealTracker: dealTracker.peer,
    },
  })
}
