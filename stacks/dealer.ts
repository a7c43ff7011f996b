import { DIALECTS } from '@w3filecoin/capabilities/vocabulary'
import type { DealerSettings } from '@w3filecoin/dealer/config'
import { resources } from '@w3filecoin/dealer/resources'
import type { Alarms } from './alarms.ts'
import type { Network } from './network.ts'
import { makeService } from './service.ts'

export const makeDealer = (network: Network, alarms: Alarms): void => {
  const { stage, storefront, aggregator, dealer, dealTracker } = network
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
      pieceSources: [
        storefront.peer.apply(({ did, url }) => ({
          storefront: did,
          url: `${new URL('/piece', url)}/{permit}/{piece}`,
        })),
        ...(stage.dealer.pieceSources ?? []),
      ],
      dealTracker: dealTracker.peer,
    },
    outsiders: { readers: { offers: stage.dealMaking }, senders: { report: stage.dealMaking } },
  })
}
