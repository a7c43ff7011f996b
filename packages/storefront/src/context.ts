import { addAbortSignal, type Readable } from 'node:stream'
import { getObject, hasObject, openContext } from '@w3filecoin/aws'
import { type Environment, ReceiptLog } from '@w3filecoin/runtime'
import { configSchema } from './config.ts'
import { fromGateway } from './content.ts'
import { SAFETY_CHECK } from './domain/piece.ts'
import { SIZES } from './domain/sizes.ts'
import { resources } from './resources.ts'
import { createStorefront } from './storefront.ts'
import type { ContentSource } from './stores.ts'

/** The storefront on AWS, from its environment. */
export const createContext = (env: Environment) => {
  const { config, aws, peer, common } = openContext(
    resources,
    configSchema,
    ({ aggregator, dealer, dealTracker }) => [aggregator, dealer, dealTracker],
    env,
  )
  const content: ContentSource = config.gateway
    ? fromGateway(config.gateway, fetch)
    : {
        has: key => hasObject({ ...aws.bucket('content'), key }),
        open: async (key, signal) => {
          const body = (await getObject({ ...aws.bucket('content'), key, signal })) as Readable | undefined
          return body && addAbortSignal(signal, body)
        },
      }
  const blocks = aws.blocks('blocks')
  const service = createStorefront({
    ...common,
    timing: { ...common.timing, longestWait: config.longestWait * 1000, safetyCheck: SAFETY_CHECK },
    stores: {
      pieces: aws.table('piece'),
      aggregates: aws.table('aggregate'),
      spaces: aws.table('space'),
      receipts: new ReceiptLog({
        table: aws.table('receipt'),
        blocks,
        now: common.now,
      }),
      blocks,
    },
    queues: {
      submit: aws.queue('submit'),
      pieceOffer: aws.queue('pieceOffer'),
      accept: aws.queue('accept'),
    },
    content,
    aggregator: peer(config.aggregator),
    dealer: config.dealer.did,
    dealTracker: peer(config.dealTracker),
    defaultGroup: config.defaultGroup,
    missingContent: config.missingContent,
    sizes: SIZES,
  })
  return { service, log: common.log, deadLetters: aws.deadLetters }
}
