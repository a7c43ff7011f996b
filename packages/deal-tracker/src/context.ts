import { openContext } from '@w3filecoin/aws'
import { type Environment, ReceiptLog } from '@w3filecoin/runtime'
import { activeReplicas } from './active-replicas.ts'
import { configSchema } from './config.ts'
import { createDealTracker } from './deal-tracker.ts'
import { SIZES } from './domain/sizes.ts'
import { resources } from './resources.ts'

/** The deal tracker on AWS, from its environment. */
export const createContext = (env: Environment) => {
  const { config, aws, common } = openContext(resources, configSchema, ({ clients }) => clients, env)
  const blocks = aws.blocks('blocks')
  const service = createDealTracker({
    ...common,
    stores: {
      deals: aws.table('deal'),
      sources: aws.table('source'),
      receipts: new ReceiptLog({ table: aws.table('receipt'), blocks, now: common.now }),
      blocks,
    },
    queues: { update: aws.queue('update') },
    clients: new Set(config.clients.map(({ did }) => did)),
    sources: config.sources.map(source => activeReplicas(source, { fetch })),
    limits: { maxAge: config.maxAge * 1000, maxLoss: config.maxLoss },
    sizes: SIZES,
  })
  return { service, log: common.log, deadLetters: aws.deadLetters }
}
