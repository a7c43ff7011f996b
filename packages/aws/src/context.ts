import { randomUUID } from 'node:crypto'
import {
  Authority,
  type Checking,
  type Clock,
  type COMMON_FORMATS,
  type CommonConfig,
  type Environment,
  jsonLog,
  type Log,
  type MessageFormats,
  openQueues,
  openStores,
  Peer,
  type PeerConfig,
  type Peers,
  readEnvironment,
  type StoresOf,
  type TableFormats,
  toTiming,
} from '@w3filecoin/runtime'
import type { Resources } from '@w3filecoin/runtime/resources'
import type * as z from 'zod'
import { bind } from './bind.ts'
import { currentRequest } from './deadline.ts'
import { hostFetch } from './host-fetch.ts'
import { openMetrics } from './metrics.ts'
import { keySourceOf } from './parameter-key.ts'
import { openTables } from './tables.ts'

/** The definition of a service as data: its resources, and the formats of its records and messages. */
interface Definition<R extends Resources, T, M> {
  resources: R
  tables: T
  messages: M
}

/** The tools with which a service finds its peers. */
interface PeerTools<T> {
  id: Checking['id']
  stores: StoresOf<T>
  now: Clock
  log: Log
}

/**
 * Opens the dependencies that all services on AWS have, from the environment: configuration, principal, stores, queues, log
 * and metrics. Time, randomness and network are injected here too, because no other code may access them directly.
 *
 * @param openPeers returns the principals whose keys the service accepts
 */
export const openContext = async <
  const R extends Resources,
  T extends TableFormats<R> & typeof COMMON_FORMATS,
  M extends MessageFormats<R>,
  S extends z.ZodType<CommonConfig>,
  P extends Peers,
>(
  { resources, tables, messages }: Definition<R, T, M>,
  schema: S,
  openPeers: (config: z.infer<S>, tools: PeerTools<T>) => P,
  env: Environment,
) => {
  const { config, logLevel, id } = await readEnvironment(schema, env, keySourceOf(env))
  // A copy, because on a laptop several services share one process, and each finds its own variables when it is imported.
  const aws = bind(resources, { ...env }, await openTables(env), config.timing.redeliverySeconds)
  const log = jsonLog(line => process.stdout.write(`${line}\n`), {
    service: resources.service,
    level: logLevel,
    now: Date.now,
    request: currentRequest,
  })
  const { metrics, flush } = openMetrics({ service: resources.service, stage: env.STAGE })
  const stores = openStores(aws, tables, { now: Date.now, log, metrics })
  const { self, aliases, attestors, dialects, didWeb } = config
  const peers = openPeers(config, { id, stores, now: Date.now, log })
  const authority = new Authority({
    peers,
    self,
    aliases,
    attestors,
    revocations: { table: stores.revocation, now: Date.now },
    didWeb: { ...didWeb, fetch: hostFetch(didWeb), now: Date.now, log },
  })
  const peer = (peer: PeerConfig) => new Peer(peer, { authority, fetch })
  const checking: Checking = {
    id,
    peer,
    fetch,
    now: Date.now,
    random: randomUUID,
    didWeb: { ...didWeb, fetch: hostFetch(didWeb) },
  }
  return {
    config,
    aws,
    /** The result of `openPeers`. */
    peers,
    peer,
    checking,
    /** The dependencies that all services have. */
    common: {
      id,
      stores,
      queues: openQueues(aws, messages),
      authority,
      dialects,
      timing: toTiming(config),
      now: Date.now,
      random: randomUUID,
      log,
      metrics,
    },
    flushMetrics: flush,
  }
}
