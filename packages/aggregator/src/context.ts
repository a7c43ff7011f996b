import { openContext } from '@w3filecoin/aws'
import { indexEntries } from '@w3filecoin/piece'
import type { Environment } from '@w3filecoin/runtime'
import { createAggregator } from './aggregator.ts'
import { configSchema } from './config.ts'
import { BATCHING } from './domain/batching.ts'
import type { Limits } from './domain/limits.ts'
import { messages } from './queues.ts'
import { resources } from './resources.ts'
import { tables } from './stores.ts'

/** Creates the aggregator on AWS from the variables of its environment. */
export const createContext = (env: Environment) => {
  const { config, aws, peer, common } = openContext(
    { resources, tables, messages },
    configSchema,
    ({ storefronts, dealer }) => [...storefronts, dealer],
    env,
  )
  const limitsOf = (group: string): Limits => {
    const { maxWaitSeconds, ...limits } = Object.assign({}, config.limits, config.groups[group])
    return {
      ...limits,
      maxPieces: Math.min(limits.maxPieces, indexEntries(limits.paddedBytes)),
      maxWaitMs: maxWaitSeconds * 1000,
    }
  }
  const service = createAggregator({
    ...common,
    storefronts: new Map(config.storefronts.map(config => [config.did, peer(config)])),
    dealer: peer(config.dealer),
    limitsOf,
    batching: BATCHING,
  })
  return { service, log: common.log, deadLetters: aws.deadLetters }
}
