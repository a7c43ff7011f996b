import { randomUUID } from 'node:crypto'
import { bind, putObject } from '@w3filecoin/aws'
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
import { configSchema } from './config.ts'
import { createDealer } from './dealer.ts'
import { resources } from './resources.ts'

/** The dealer on AWS, from its environment. */
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
    ...config.aggregators,
    config.dealTracker,
  ])
  const blocks = aws.blocks('blocks')
  const service = createDealer({
    id: readSigner(env, config.self?.did),
    stores: {
      aggregates: aws.table('aggregate'),
      receipts: new ReceiptLog({ table: aws.table('receipt'), blocks, now }),
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
    queues: { track: aws.queue('track'), conclude: aws.queue('conclude') },
    aggregators: new Map(config.aggregators.map(peer => [peer.did, new Peer(peer, { authority, fetch })])),
    dealTracker: new Peer(config.dealTracker, { authority, fetch }),
    authority,
    timing: milliseconds(config.timing),
    now,
    random: randomUUID,
    log,
  })
  return { service, log }
}
