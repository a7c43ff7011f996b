import { openContext } from '@w3filecoin/aws'
import { indexEntries } from '@w3filecoin/piece'
import { type Environment, ReceiptLog } from '@w3filecoin/runtime'
import { createAggregator } from './aggregator.ts'
import { configSchema } from './config.ts'
import type { Limits } from './domain/limits.ts'
import { SIZES } from './domain/sizes.ts'
import { sealOrder } from './queues.ts'
import { resources } from './resources.ts'

/** The aggregator on AWS, from its environment. */
export const createContext = (env: Environment) => {
  const { config, aws, peer, common } = openContext(
    resources,
    configSchema,
    ({ storefronts, dealer }) => [...storefronts, dealer],
    env,
  )
  const limitsOf = (group: string): Limits => {
    const limits = { ...config.limits, ...config.groups[group] } as Limits
    return {
      ...limits,
      maxPieces: Math.min(limits.maxPieces, indexEntries(limits.size)),
      longestWait: limits.longestWait * 1000,
    }
  }
  const blocks = aws.blocks('blocks')
  const service = createAggregator({
    ...common,
    stores: {
      pieces: aws.table('piece'),
      pending: aws.table('pending'),
      groups: aws.table('group'),
      tallies: aws.table('tally'),
      aggregates: aws.table('aggregate'),
      members: aws.table('member'),
      receipts: new ReceiptLog({ table: aws.table('receipt'), blocks, now: common.now }),
      blocks,
    },
    queues: {
      piece: aws.queue('piece'),
      seal: aws.queue('seal', sealOrder),
      include: aws.queue('include'),
      aggregateOffer: aws.queue('aggregateOffer'),
      conclude: aws.queue('conclude'),
    },
    storefronts: new Map(config.storefronts.map(config => [config.did, peer(config)])),
    dealer: peer(config.dealer),
    limitsOf,
    sizes: SIZES,
  })
  return { service, log: common.log, deadLetters: aws.deadLetters }
}
