import { bind } from '@w3filecoin/aws'
import {
  Authority,
  type Environment,
  jsonLog,
  milliseconds,
  Peer,
  ReceiptLog,
  readConfig,
  readSigner,
} from '@w3filecoin/service'
import { createAggregator } from './aggregator.ts'
import { configSchema } from './config.ts'
import type { Limits } from './domain/limits.ts'
import type { SealMessage } from './queues.ts'
import { resources } from './resources.ts'

/** The aggregator on AWS, from its environment. */
export const createContext = (env: Environment) => {
  const config = readConfig(configSchema, env)
  const aws = bind(resources, env)
  const now = Date.now
  const log = jsonLog(line => process.stdout.write(`${line}\n`), {
    service: resources.service,
    level: env.LOG_LEVEL,
  })
  const authority = new Authority([
    ...(config.self ? [config.self] : []),
    ...config.storefronts,
    config.dealer,
  ])
  const limitsOf = (group: string): Limits => {
    const limits = { ...config.limits, ...config.groups[group] } as Limits
    return { ...limits, longestWait: limits.longestWait * 1000 }
  }
  const blocks = aws.blocks('blocks')
  const service = createAggregator({
    id: readSigner(env, config.self?.did),
    stores: {
      pieces: aws.table('piece'),
      pending: aws.table('pending'),
      groups: aws.table('group'),
      tallies: aws.table('tally'),
      aggregates: aws.table('aggregate'),
      receipts: new ReceiptLog({ table: aws.table('receipt'), blocks, now }),
      blocks,
    },
    queues: {
      piece: aws.queue('piece'),
      seal: aws.queue<SealMessage>('seal', {
        group: ({ group }) => group,
        id: ({ group, id }) => `${group}-${id}`,
      }),
      include: aws.queue('include'),
      aggregateOffer: aws.queue('aggregateOffer'),
      conclude: aws.queue('conclude'),
    },
    storefronts: new Map(config.storefronts.map(peer => [peer.did, new Peer(peer, { authority, fetch })])),
    dealer: new Peer(config.dealer, { authority, fetch }),
    authority,
    limitsOf,
    timing: milliseconds(config.timing),
    now,
    log,
  })
  return { service, log }
}
