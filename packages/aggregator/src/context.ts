import { openContext } from '@w3filecoin/aws'
import { indexEntries } from '@w3filecoin/piece'
import { type Environment, ListedPeers, mapPeers } from '@w3filecoin/runtime'
import { createAggregator } from './aggregator.ts'
import { aggregatorChecks } from './checks.ts'
import { configSchema, limitsOfGroup, peerLists } from './config.ts'
import { checkDelegation, delegationsOf, readDelegations } from './delegations.ts'
import { BATCHING } from './domain/batching.ts'
import type { Limits } from './domain/limits.ts'
import { messages } from './queues.ts'
import { resources } from './resources.ts'
import { tables } from './stores.ts'

/** The aggregator on AWS, from its environment. */
export const createContext = async (env: Environment) => {
  const { config, aws, peers, peer, checking, common, flushMetrics } = await openContext(
    { resources, tables, messages },
    configSchema,
    ({ storefronts, dealer }, { id, stores, ...tools }) =>
      new ListedPeers({
        lists: peerLists,
        configured: { storefronts },
        services: [dealer],
        table: stores.peer,
        check: storefront => checkDelegation(storefront, id),
        ...tools,
      }),
    env,
  )
  const limitsOf = (group: string): Limits => {
    const { maxWaitSeconds, ...limits } = limitsOfGroup(config, group)
    return {
      ...limits,
      maxPieces: Math.min(limits.maxPieces, indexEntries(limits.paddedBytes)),
      maxWaitMs: maxWaitSeconds * 1000,
    }
  }
  const delegations = await readDelegations(config.storefronts, common.id)
  const storefronts = peers.in('storefronts')
  const service = createAggregator({
    ...common,
    storefronts: mapPeers(storefronts, peer),
    bounds: storefronts,
    delegationOf: delegationsOf(delegations, storefronts),
    dealer: peer(config.dealer),
    limitsOf,
    batching: BATCHING,
    checks: aggregatorChecks({ ...checking, config, delegations }),
  })
  return { service, log: common.log, deadLetters: aws.deadLetters, flushMetrics }
}
