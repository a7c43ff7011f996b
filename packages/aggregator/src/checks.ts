import { hasher } from '@w3filecoin/piece'
import {
  type Check,
  type Checking,
  concludeQuestion,
  EXAMPLE,
  hasherCheck,
  ownDocumentChecks,
  peerChecks,
  type Question,
} from '@w3filecoin/runtime'
import type { AggregatorConfig } from './config.ts'
import type { Delegations } from './delegations.ts'
import { dealerWords } from './dialects/dealer-words.ts'
import { resources } from './resources.ts'

interface Checked extends Checking {
  config: Pick<AggregatorConfig, 'storefronts' | 'dealer'>
  delegations: Delegations
}

/** The greatest number of storefronts for which the dealer is asked in one check. */
const MAX_TENANTS = 100

/** Returns the checks of an aggregator. */
export const aggregatorChecks = ({ config, id, delegations, peer: open, ...others }: Checked): Check[] => {
  const { service } = resources
  const tools = { service, ...others }
  const dealer = open(config.dealer)
  /** The aggregator may always name itself. */
  const tenants = [...config.storefronts.map(({ did }) => did), id.did()].slice(0, MAX_TENANTS)

  /**
   * An offer for each storefront, without the list of its pieces: the dealer answers `InvalidPiece` and stores nothing, unless
   * it does not take offers of this aggregator for this storefront.
   */
  const askDealer: Question = {
    ask: () =>
      Promise.all(
        tenants.map(storefront => {
          const delegation = delegations.get(storefront)
          return dealerWords(id, dealer).offer(
            {
              aggregate: EXAMPLE.piece,
              pieces: EXAMPLE.block,
              nonce: undefined,
              tenant: { storefront, group: EXAMPLE.group, label: EXAMPLE.group },
            },
            delegation && { with: storefront, proofs: [delegation] },
          )
        }),
      ),
    refusals: ['UnknownAggregator', 'TenantNotListed', 'Unauthorized'],
  }

  return [
    ...peerChecks({ config: config.dealer, peer: dealer, setting: 'dealer', question: askDealer }, tools),
    ...config.storefronts.flatMap(storefront => {
      const peer = open(storefront)
      const question = concludeQuestion(id, peer)
      return peerChecks({ config: storefront, peer, setting: 'storefronts', question }, tools)
    }),
    ...ownDocumentChecks(id, tools),
    hasherCheck(hasher, service),
  ]
}
