import { openContext, putObject } from '@w3filecoin/aws'
import { type Environment, ReceiptLog } from '@w3filecoin/runtime'
import { configSchema } from './config.ts'
import { createDealer } from './dealer.ts'
import { SIZES } from './domain/sizes.ts'
import { resources } from './resources.ts'

/** The dealer on AWS, from its environment. */
export const createContext = (env: Environment) => {
  const { config, aws, peer, common } = openContext(
    resources,
    configSchema,
    ({ aggregators, dealTracker }) => [...aggregators, dealTracker],
    env,
  )
  const blocks = aws.blocks('blocks')
  const service = createDealer({
    ...common,
    stores: {
      aggregates: aws.table('aggregate'),
      receipts: new ReceiptLog({ table: aws.table('receipt'), blocks, now: common.now }),
      blocks,
      offers: {
        put: (key, document) =>
          putObject({
            ...aws.bucket('offers'),
            key,
            bytes: Buffer.from(JSON.stringify(document)),
            type: 'application/json',
          }),
      },
    },
    queues: {
      track: aws.queue('track'),
      report: aws.queue('report'),
      retry: aws.queue('retry'),
      conclude: aws.queue('conclude'),
    },
    timing: { ...common.timing, longestWait: config.longestWait * 1000 },
    aggregators: new Map(config.aggregators.map(config => [config.did, peer(config)])),
    dealTracker: peer(config.dealTracker),
    sizes: SIZES,
  })
  return { service, log: common.log, deadLetters: aws.deadLetters }
}
