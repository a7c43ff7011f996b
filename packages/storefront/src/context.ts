import { resolve } from 'node:path'
import { hostFetch, openContext } from '@w3filecoin/aws'
import { configuredPeers, type Environment, openWebPage } from '@w3filecoin/runtime'
import { storefrontChecks } from './checks.ts'
import { configSchema } from './config.ts'
import { fromBuckets, uploadsTo } from './content/bucket.ts'
import { fromGateway } from './content/gateway.ts'
import type { ContentSource } from './content/source.ts'
import { BATCHING } from './domain/batching.ts'
import { messages } from './queues.ts'
import { resources } from './resources.ts'
import { createStorefront } from './storefront.ts'
import { tables } from './stores.ts'

/** The storefront on AWS, from its environment. */
export const createContext = async (env: Environment) => {
  const { config, aws, peer, checking, common, flushMetrics } = await openContext(
    { resources, tables, messages },
    configSchema,
    ({ aggregator, dealer, dealTracker }) => configuredPeers([aggregator, dealer, dealTracker]),
    env,
  )
  const buckets = { content: () => aws.bucket('content'), uploads: () => aws.bucket('uploads') }
  const content: ContentSource = config.gateway
    ? fromGateway(config.gateway, {
        fetch: hostFetch(config.didWeb),
        hosts: config.gatewayHosts,
        allowPrivate: config.didWeb.allowPrivate,
      })
    : fromBuckets(buckets)
  const { uploads } = config
  const service = createStorefront({
    ...common,
    timing: { ...common.timing, contentWaitMs: config.contentWaitSeconds * 1000 },
    content,
    contentAccess: {
      from: config.gateway ? 'gateway' : 'bucket',
      upload: config.upload,
      ...(uploads !== 'off' && { uploads }),
    },
    uploads:
      uploads === 'off'
        ? undefined
        : {
            spaces: uploads,
            maxBytes: config.maxUploadBytes,
            perDay: config.uploadsPerDay,
            bytesPerDay: config.uploadBytesPerDay,
            store: uploadsTo(buckets, common.now),
          },
    page: env.PAGE ? openWebPage(resolve(env.LAMBDA_TASK_ROOT ?? '', env.PAGE)) : undefined,
    aggregator: peer(config.aggregator),
    dealer: config.dealer.did,
    dealTracker: peer(config.dealTracker),
    placeTypes: config.places,
    defaultGroup: config.defaultGroup,
    missingContent: config.missingContent,
    admission: config,
    addresses: { fetch: hostFetch(config.didWeb), allowPrivate: config.didWeb.allowPrivate },
    pieceAccess: config.pieces,
    batching: BATCHING,
    checks: storefrontChecks({ ...checking, config, content }),
  })
  return { service, log: common.log, deadLetters: aws.deadLetters, flushMetrics }
}
