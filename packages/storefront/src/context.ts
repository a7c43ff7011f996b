import { randomUUID } from 'node:crypto'
import { bind, getObject } from '@w3filecoin/aws'
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
import { fromGateway } from './content.ts'
import { resources } from './resources.ts'
import { createStorefront } from './storefront.ts'
import type { ContentSource } from './stores.ts'

/** The storefront on AWS, from its environment. */
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
    config.aggregator,
    config.dealer,
    config.dealTracker,
  ])
  const content: ContentSource = config.gateway
    ? fromGateway(config.gateway, fetch)
    : {
        open: async key =>
          (await getObject({ ...aws.bucket('content'), key })) as AsyncIterable<Uint8Array> | undefined,
      }
  const service = createStorefront({
    id: readSigner(env, config.self?.did),
    stores: {
      pieces: aws.table('piece'),
      aggregates: aws.table('aggregate'),
      spaces: aws.table('space'),
      receipts: new ReceiptLog({ table: aws.table('receipt'), blocks: aws.blocks('blocks'), now }),
    },
    queues: { submit: aws.queue('submit'), pieceOffer: aws.queue('pieceOffer'), accept: aws.queue('accept') },
    content,
    aggregator: new Peer(config.aggregator, { authority, fetch }),
    dealer: config.dealer.did,
    dealTracker: new Peer(config.dealTracker, { authority, fetch }),
    authority,
    defaultGroup: config.defaultGroup,
    timing: milliseconds(config.timing),
    now,
    random: randomUUID,
    log,
  })
  return { service, log }
}
