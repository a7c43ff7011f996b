import { addAbortSignal, type Readable } from 'node:stream'
import { getObject, hasObject, hostFetch, openContext, presignObject } from '@w3filecoin/aws'
import type { Environment } from '@w3filecoin/runtime'
import { storefrontChecks } from './checks.ts'
import { configSchema } from './config.ts'
import { fromGateway } from './content/gateway.ts'
import type { ContentSource } from './content/source.ts'
import { BATCHING } from './domain/batching.ts'
import { SAFETY_CHECK_MS } from './domain/piece.ts'
import { messages } from './queues.ts'
import { resources } from './resources.ts'
import { createStorefront } from './storefront.ts'
import { tables } from './stores.ts'

/** The storefront on AWS, from its environment. */
export const createContext = async (env: Environment) => {
  const { config, aws, peer, checking, common, flushMetrics } = await openContext(
    { resources, tables, messages },
    configSchema,
    ({ aggregator, dealer, dealTracker }) => [aggregator, dealer, dealTracker],
    env,
  )
  const content: ContentSource = config.gateway
    ? fromGateway(config.gateway, {
        fetch: hostFetch(config.didWeb),
        hosts: config.gatewayHosts,
        allowPrivate: config.didWeb.allowPrivate,
      })
    : {
        has: key => hasObject({ ...aws.bucket('content'), key }),
        open: async (key, signal) => {
          const body = (await getObject({ ...aws.bucket('content'), key, signal })) as Readable | undefined
          return body && addAbortSignal(signal, body)
        },
        // Not the type of the upload: a browser must not run it.
        locate: key => presignObject({ ...aws.bucket('content'), key, type: 'application/octet-stream' }),
      }
  const service = createStorefront({
    ...common,
    timing: {
      ...common.timing,
      contentWaitMs: config.contentWaitSeconds * 1000,
      safetyCheckMs: SAFETY_CHECK_MS,
    },
    content,
    contentAccess: { from: config.gateway ? 'gateway' : 'bucket', upload: config.upload },
    aggregator: peer(config.aggregator),
    dealer: config.dealer.did,
    dealTracker: peer(config.dealTracker),
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
