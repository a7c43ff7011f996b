import { DIALECTS } from '@w3filecoin/capabilities/vocabulary'
import type { DealerSettings } from '@w3filecoin/dealer/config'
import { resources } from '@w3filecoin/dealer/resources'
import type { Network } from './network.ts'
import { type MadeService, makeService } from './service.ts'

export const makeDealer = (network: Network): MadeService => {
  const { stage, storefront, aggregator, dealer, dealTracker } = network
  return makeService<DealerSettings>(resources, {
    member: dealer,
    stage,
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
