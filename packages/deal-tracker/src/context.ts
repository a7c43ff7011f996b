import { bind } from '@w3filecoin/aws'
import { Authority, type Environment, jsonLog, ReceiptLog, readConfig, readSigner } from '@w3filecoin/service'
import { activeReplicas } from './active-replicas.ts'
import { configSchema } from './config.ts'
import { createDealTracker } from './deal-tracker.ts'
import { resources } from './resources.ts'

/** The deal tracker on AWS, from its environment. */
export const createContext = (env: Environment) => {
  const config = readConfig(configSchema, env)
  const aws = bind(resources, env)
  const now = Date.now
  const log = jsonLog(line => process.stdout.write(`${line}\n`), {
    service: resources.service,
    level: env.LOG_LEVEL,
  })
  const blocks = aws.blocks('blocks')
  const service = createDealTracker({
    id: readSigner(env, config.self?.did),
    stores: {
      deals: aws.table('deal'),
      sources: aws.table('source'),
      receipts: new ReceiptLog({ table: aws.table('receipt'), blocks, now }),
      blocks,
    },
    queues: { update: aws.queue('update') },
    clients: new Set(config.clients.map(({ did }) => did)),
    sources: config.sources.map(source => activeReplicas(source, { fetch })),
    limits: { maxAge: config.maxAge * 1000, maxLoss: config.maxLoss },
    authority: new Authority([...(config.self ? [config.self] : []), ...config.clients]),
    now,
    log,
  })
  return { service, log }
}
