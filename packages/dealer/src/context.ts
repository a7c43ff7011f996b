import { hostFetch, openContext, putJson } from '@w3filecoin/aws'
import { type Environment, ListedPeers, mapPeers } from '@w3filecoin/runtime'
import { dealerChecks } from './checks.ts'
import { configSchema, peerLists, policiesOf } from './config.ts'
import { createDealer } from './dealer.ts'
import type { OpenTarget } from './dependencies.ts'
import { BATCHING } from './domain/batching.ts'
import { deriveWallet } from './makers/wallet.ts'
import { messages } from './queues.ts'
import { resources } from './resources.ts'
import { tables } from './stores.ts'
import { wholesIn } from './wholes/bucket.ts'

/** The dealer on AWS, from its environment. */
export const createContext = async (env: Environment) => {
  const { config, aws, peers, peer, checking, common, flushMetrics } = await openContext(
    { resources, tables, messages },
    configSchema,
    ({ aggregators, storefronts, brokers, dealTracker }, { stores, now, log }) =>
      new ListedPeers({
        lists: peerLists,
        configured: { aggregators, storefronts, brokers },
        services: [dealTracker],
        table: stores.peer,
        now,
        log,
      }),
    env,
  )
  /** Most stages have no targets: their functions do not load the libraries of the makers. */
  const openTargets = async ({ targets, walletNumber }: typeof config): Promise<OpenTarget[]> => {
    if (targets.length === 0) return []
    const { openTarget } = await import('./makers/open-target.ts')
    const { privateKeyToAddress } = await import('viem/accounts')
    const wallet = await deriveWallet(common.id, walletNumber)
    // An operator must log this address in, or have providers allow it.
    common.log('info', 'wallet opened', { address: privateKeyToAddress(wallet), walletNumber })
    return targets.map(target => openTarget(target, { wallet, fetch, now: Date.now }))
  }
  const targets = await openTargets(config)
  const door = (config.door ?? config.self?.url)?.replace(/\/$/, '')
  const service = createDealer({
    ...common,
    offerDocuments: {
      put: (key, document) => putJson({ ...aws.bucket('offers'), key, value: document }),
    },
    timing: {
      ...common.timing,
      dealWaitMs: config.dealWaitSeconds * 1000,
      liveMs: config.liveCheckSeconds * 1000,
    },
    aggregators: mapPeers(peers.in('aggregators'), peer),
    allowedTenants: peers.in('aggregators'),
    storefronts: peers.in('storefronts'),
    brokers: peers.in('brokers'),
    pieceSources: new Map(config.pieceSources.map(({ storefront, url }) => [storefront, url])),
    dealTracker: peer(config.dealTracker),
    policies: policiesOf(config),
    targets,
    wholes: wholesIn(() => aws.bucket('wholes')),
    door,
    keepWholeMs: config.keepWholeDays * 24 * 60 * 60 * 1000,
    fetchContent: hostFetch(config.didWeb),
    batching: BATCHING,
    checks: dealerChecks({ ...checking, config, targets, door, stores: common.stores }),
  })
  return { service, log: common.log, deadLetters: aws.deadLetters, flushMetrics }
}
