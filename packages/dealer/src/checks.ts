import { hasher } from '@w3filecoin/piece'
import {
  type Check,
  type Checking,
  concludeQuestion,
  dealInfoQuestion,
  EXAMPLE,
  failing,
  fine,
  hasherCheck,
  ownDocumentChecks,
  peerChecks,
  reasonOf,
} from '@w3filecoin/runtime'
import type { DealerConfig } from './config.ts'
import { resources } from './resources.ts'

interface Checked extends Checking {
  config: Pick<DealerConfig, 'aggregators' | 'storefronts' | 'pieceSources' | 'dealTracker'>
}

/** Maximum time for the answer of a piece source. */
const TIMEOUT_MS = 10_000

/** Returns the checks of a dealer. */
export const dealerChecks = ({ config, id, peer: open, random, ...others }: Checked): Check[] => {
  const { service } = resources
  const tools = { service, ...others }
  const dealTracker = open(config.dealTracker)

  /** Asks for a piece that does not exist. The storefront refuses the permit, or does not find the piece. */
  const checkPieceSource = ({ storefront, url }: DealerConfig['pieceSources'][number]): Check => ({
    name: `pieces ${storefront}`,
    check: 'pieces',
    subject: storefront,
    setting: 'pieceSources',
    run: async () => {
      const advice = `Storage providers cannot fetch the pieces of ${storefront}. Check pieceSources.url in the settings of the ${service}`
      try {
        const address = url.replace('{permit}', 'check').replace('{piece}', `${EXAMPLE.piece}`)
        const response = await others.fetch(address, {
          redirect: 'manual',
          signal: AbortSignal.timeout(TIMEOUT_MS),
        })
        await response.body?.cancel()
        if (response.status < 500) return fine(`${url} answers`)
        return failing('PiecesUnreachable', `${url} answers with status ${response.status}. ${advice}`)
      } catch (cause) {
        return failing('PiecesUnreachable', `${url} cannot be reached: ${reasonOf(cause)}. ${advice}`)
      }
    },
  })

  return [
    ...peerChecks(
      {
        config: config.dealTracker,
        peer: dealTracker,
        setting: 'dealTracker',
        question: dealInfoQuestion({ id, random }, dealTracker),
        aliasIsFine: true,
      },
      tools,
    ),
    ...config.aggregators.flatMap(aggregator => {
      const peer = open(aggregator)
      const question = concludeQuestion(id, peer)
      return peerChecks({ config: aggregator, peer, setting: 'aggregators', question }, tools)
    }),
    ...config.storefronts.flatMap(storefront =>
      peerChecks({ config: storefront, peer: open(storefront), setting: 'storefronts' }, tools),
    ),
    ...config.pieceSources.map(checkPieceSource),
    ...ownDocumentChecks(id, tools),
    hasherCheck(hasher, service),
  ]
}
