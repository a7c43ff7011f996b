import { randomUUID } from 'node:crypto'
import {
  Authority,
  type CommonConfig,
  type Environment,
  jsonLog,
  milliseconds,
  Peer,
  type PeerConfig,
  readConfig,
  readSigner,
} from '@w3filecoin/runtime'
import type { Resources, TableSpec } from '@w3filecoin/runtime/resources'
import type { z } from 'zod'
import { bind } from './bind.ts'
import { hostFetch } from './host-fetch.ts'

/**
 * What every service on AWS is given, from its environment: configuration, principal, resources, log, and the time,
 * randomness and network that nothing else reaches for.
 *
 * @param peers whom the configuration names
 */
export const openContext = <
  const R extends Resources & { tables: { revocation: TableSpec } },
  S extends z.ZodType<CommonConfig>,
>(
  resources: R,
  schema: S,
  peers: (config: z.infer<S>) => readonly PeerConfig[],
  env: Environment,
) => {
  const config = readConfig(schema, env)
  const aws = bind(resources, env)
  const log = jsonLog(line => process.stdout.write(`${line}\n`), {
    service: resources.service,
    level: env.LOG_LEVEL,
  })
  const { self, didWeb } = config
  // A service is never asked for its own keys.
  const authority = new Authority([...(self?.keys ? [self] : []), ...peers(config)], {
    revocations: { table: aws.table('revocation'), now: Date.now },
    didWeb: { ...didWeb, fetch: hostFetch(didWeb), now: Date.now, log },
  })
  return {
    config,
    aws,
    peer: (peer: PeerConfig) => new Peer(peer, { authority, fetch }),
    /** What all services have among their dependencies. */
    common: {
      id: readSigner(env, self?.did),
      authority,
      timing: milliseconds(config.timing),
      now: Date.now,
      random: randomUUID,
      log,
    },
  }
}
