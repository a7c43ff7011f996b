import { openContext, putJson } from '@w3filecoin/aws'
import { type Environment, ListedPeers, mapPeers } from '@w3filecoin/runtime'
import { dealerChecks } from './checks.ts'
import { configSchema, peerLists } from './config.ts'
import { createDealer } from './dealer.ts'
import { BATCHING } from './domain/batching.ts'
import { messages } from './queues.ts'
import { resources } from './resources.ts'
import { tables } from './stores.ts'

/** The dealer on AWS, from its environment. */
export const createContext = async (env: Environment) => {
  const { config, aws, peers, peer, checking, common, flushMetrics } = await openContext(
    { resources, tables, messages },
    configSchema,
    ({ aggregators, storefronts, dealTracker }, { stores, now, log }) =>
      new ListedPeers({
        lists: peerLists,
        configured: { aggregators, storefronts },
        services: [dealTracker],
        table: stores.peer,
        now,
        log,
      }),
    env,
  )
  const service = createDealer({
    ...common,
    offerDocuments: {
      put: (key, document) => putJson({ ...aws.bucket('offers'), key, value: document }),
    },
    timing: { ...common.timing, dealWaitMs: config.dealWaitSeconds * 1000 },
    aggregators: mapPeers(peers.in('aggregators'), peer),
    allowedTenants: peers.in('aggregators'),
    storefronts: peers.in('storefronts'),
    pieceSources: new Map(config.pieceSources.map(({ storefront, url }) => [storefront, url])),
    dealTracker: peer(config.dealTracker),
    placeTypes: config.places,
    batching: BATCHING,
    checks: dealerChecks({ ...checking, config }),
  })
  return { service, log: common.log, deadLetters: aws.deadLetters, flushMetrics }
}
