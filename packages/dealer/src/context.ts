import { openContext, putObject } from '@w3filecoin/aws'
import type { Environment } from '@w3filecoin/runtime'
import { configSchema } from './config.ts'
import { createDealer } from './dealer.ts'
import { BATCHING } from './domain/batching.ts'
import { messages } from './queues.ts'
import { resources } from './resources.ts'
import { tables } from './stores.ts'

/** Creates the dealer on AWS from the variables of its environment. */
export const createContext = (env: Environment) => {
  const { config, aws, peer, common } = openContext(
    { resources, tables, messages },
    configSchema,
    ({ aggregators, dealTracker }) => [...aggregators, dealTracker],
    env,
  )
  const service = createDealer({
    ...common,
    offerDocuments: {
      put: (key, document) =>
        putObject({
          ...aws.bucket('offers'),
          key,
          bytes: Buffer.from(JSON.stringify(document)),
          type: 'application/json',
        }),
    },
    timing: { ...common.timing, dealWaitMs: config.dealWaitSeconds * 1000 },
    aggregators: new Map(config.aggregators.map(config => [config.did, peer(config)])),
    dealTracker: peer(config.dealTracker),
    batching: BATCHING,
  })
  return { service, log: common.log, deadLetters: aws.deadLetters }
}
