import { openContext } from '@w3filecoin/aws'
import { type Environment, ListedPeers } from '@w3filecoin/runtime'
import { dealTrackerChecks } from './checks.ts'
import { configSchema, peerLists } from './config.ts'
import { createDealTracker } from './deal-tracker.ts'
import { BATCHING } from './domain/batching.ts'
import { messages } from './queues.ts'
import { resources } from './resources.ts'
import { openSource } from './sources/open-source.ts'
import { tables } from './stores.ts'

/** Opens the deal tracker on AWS from its environment. */
export const createContext = async (env: Environment) => {
  const { config, aws, peers, checking, common, flushMetrics } = await openContext(
    { resources, tables, messages },
    configSchema,
    ({ clients }, { stores, now, log }) =>
      new ListedPeers({ lists: peerLists, configured: { clients }, table: stores.peer, now, log }),
    env,
  )
  const service = createDealTracker({
    ...common,
    clients: peers.in('clients'),
    sources: config.sources.map(source => openSource(source, { fetch })),
    limits: { maxAgeMs: config.maxAgeSeconds * 1000, maxLossShare: config.maxLossShare },
    batching: BATCHING,
    checks: dealTrackerChecks({ ...checking, config, stores: common.stores }),
  })
  return { service, log: common.log, deadLetters: aws.deadLetters, flushMetrics }
}
