import { Tasks } from '@w3filecoin/capabilities'
import { hasher } from '@w3filecoin/piece'
import {
  type Check,
  type Checking,
  dealInfoQuestion,
  EXAMPLE,
  failing,
  fine,
  hasherCheck,
  ownDocumentChecks,
  peerChecks,
  type Question,
  reasonOf,
} from '@w3filecoin/runtime'
import type { StorefrontConfig } from './config.ts'
import type { ContentSource } from './content/source.ts'
import { resources } from './resources.ts'

interface Checked extends Checking {
  config: Pick<StorefrontConfig, 'aggregator' | 'dealer' | 'dealTracker' | 'defaultGroup' | 'gateway'>
  content: Pick<ContentSource, 'has'>
}

/** Returns the checks of a storefront. */
export const storefrontChecks = ({
  config,
  id,
  content,
  peer: open,
  random,
  ...others
}: Checked): Check[] => {
  const { service } = resources
  const tools = { service, ...others }
  const aggregator = open(config.aggregator)
  const dealTracker = open(config.dealTracker)

  /** In other vocabularies, aggregators answer no questions. */
  const askAggregator: Question | string =
    aggregator.vocabulary === 'protocol'
      ? {
          ask: async () => [
            await Tasks.pieceInfo(id, aggregator.principal, {
              piece: EXAMPLE.piece,
              group: config.defaultGroup,
            }),
          ],
          refusals: ['UnknownStorefront'],
        }
      : `${aggregator.vocabulary} has no question for aggregators`
  const checkGateway = async () => {
    try {
      await content.has(EXAMPLE.content)
      return fine(`The gateway answers at ${config.gateway}`)
    } catch (cause) {
      return failing(
        'GatewayUnreachable',
        `The content gateway ${config.gateway} does not answer: ${reasonOf(cause)}. Check gateway in the settings of the ${service}`,
      )
    }
  }

  return [
    ...peerChecks(
      { config: config.aggregator, peer: aggregator, setting: 'aggregator', question: askAggregator },
      tools,
    ),
    ...peerChecks({ config: config.dealer, peer: open(config.dealer), setting: 'dealer' }, tools),
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
    ...(config.gateway === undefined
      ? []
      : [{ name: 'gateway', check: 'gateway' as const, setting: 'gateway', run: checkGateway }]),
    ...ownDocumentChecks(id, tools),
    hasherCheck(hasher, service),
  ]
}
