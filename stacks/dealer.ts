import { DIALECTS } from '@w3filecoin/capabilities/vocabulary'
import type { DealerSettings } from '@w3filecoin/dealer/config'
import { resources } from '@w3filecoin/dealer/resources'
import type { Alarms } from './alarms.ts'
import type { Network } from './network.ts'
import { makeService } from './service.ts'

export const makeDealer = (network: Network, alarms: Alarms): void => {
  const { stage, aggregator, dealer, dealTracker } = network
  makeService<DealerSettings>(resources, {
    member: dealer,
    stage,
    alarms,
    config: {
      dialects: [...DIALECTS],
      ...stage.dealer,
      aggregators: [
        aggregator.peer.apply(peer => ({ ...peer, tenants: 'all' as const })),
        ...(stage.dealer.aggregators ?? []),
      ],
      dealTracker: dealTracker.peer,
    },
  })
}
