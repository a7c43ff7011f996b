import { DIALECTS, VOCABULARIES } from '@w3filecoin/capabilities/vocabulary'
import type { StorefrontSettings } from '@w3filecoin/storefront/config'
import { resources } from '@w3filecoin/storefront/resources'
import type { Network } from './network.ts'
import { type MadeService, makeService } from './service.ts'

export const makeStorefront = (network: Network): MadeService => {
  const { stage, storefront, aggregator, dealer, dealTracker } = network
  return makeService<StorefrontSettings>(resources, {
    member: storefront,
    stage,
    // `sst.config.ts` builds the page.
    api: { environment: { PAGE: 'page' }, copyFiles: [{ from: 'packages/page/dist', to: 'page' }] },
    config: {
      dialects: [...DIALECTS],
      ...stage.storefront,
      aggregator: aggregator.peer.apply(peer => ({ ...peer, speaks: [...VOCABULARIES] })),
      dealer: dealer.peer,
      dealTracker: dealTracker.peer,
    },
  })
}
