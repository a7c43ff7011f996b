import { createAggregator, messages, tables } from '@w3filecoin/aggregator'
import { configSchema, peerLists } from '@w3filecoin/aggregator/config'
import { resources } from '@w3filecoin/aggregator/resources'
import { lambdaFunctions, openContext } from '@w3filecoin/aws'
import { indexEntries } from '@w3filecoin/piece'
import { configuredPeers, ListedPeers, mapPeers } from '@w3filecoin/runtime'
import { BATCHING } from '../../packages/aggregator/src/domain/batching.ts'

/**
 * The Lambda functions of an aggregator that fills the whole index of an aggregate. The configuration of a deployed one permits
 * 95,000 pieces, because its dealer gets the list of pieces in one HTTP message.
 */
const { config, aws, peers, peer, common, flushMetrics } = await openContext(
  { resources, tables, messages },
  configSchema,
  ({ storefronts }, { id, stores, ...tools }) =>
    new ListedPeers({
      lists: peerLists,
      configured: { storefronts },
      services: [],
      table: stores.peer,
      check: async () => undefined,
      ...tools,
    }),
  process.env,
)
const { paddedBytes } = config.limits
// Read now: the environment of a deployment is present only while its module is imported.
const maxPieces = Number(process.env.MAX_PIECES)

const service = createAggregator({
  ...common,
  storefronts: mapPeers(peers.in('storefronts'), peer),
  bounds: configuredPeers([]),
  delegationOf: async () => undefined,
  dealer: peer(config.dealer),
  limitsOf: () => ({
    paddedBytes,
    minPaddedBytes: 0,
    maxPieces: Math.min(indexEntries(paddedBytes), maxPieces),
    maxWaitMs: 6 * 3_600_000,
  }),
  batching: BATCHING,
  checks: [],
})

export const { api, piece, seal, include, deal, conclude, translate, sweep, check } = lambdaFunctions({
  service,
  log: common.log,
  deadLetters: aws.deadLetters,
  flushMetrics,
})
