import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { type Address, type Local, type LocalOptions, startLocal } from '@w3filecoin/local'
import { tableEngine } from '@w3filecoin/testing'
import { afterAll, beforeAll } from 'vitest'

/** The whole system. The tests of a file share it. */
export interface System {
  readonly local: Local
  /** Its data directory. */
  readonly data: string
  /** Returns the address of a service by its role, e.g. `dealTracker`. */
  at(role: string): Address
  /** Returns the signer of a service, so that tests can act as that service. */
  signer(role: string): Signer
}

/**
 * Seconds until unfinished work is retried, and until another service is polled. Tests wait for both, but with shorter
 * intervals a busy machine would spend its time on retries.
 */
const MAX_SECONDS = 3

/** Has the aggregator make small aggregates, of 4 MiB, after five seconds at the latest. */
export const sealsSmallAggregates: NonNullable<LocalOptions['configure']> = (role, config) =>
  role === 'aggregator'
    ? { ...config, limits: { paddedBytes: 2 ** 22, minPaddedBytes: 0, maxWaitSeconds: 5 } }
    : config

/**
 * Starts the system before the tests of a file, in an empty data directory, and stops it after them. Unless a test
 * configures it otherwise, every schedule runs each second. The tables are in SQLite, as with `npm start`, unless the variable
 * `TABLE_ENGINE` names another engine.
 */
export const useSystem = ({
  configure = (_, config) => config,
  fetchesPieces = false,
  ...options
}: Omit<LocalOptions, 'data'> & {
  /** Whether storage providers fetch the pieces of aggregates. Many tests offer pieces without any content. */
  fetchesPieces?: boolean
} = {}): System => {
  let local: Local | undefined
  let data: string

  beforeAll(async () => {
    data = await mkdtemp(join(tmpdir(), 'w3filecoin-'))
    local = await startLocal({
      data,
      engine: tableEngine('sqlite'),
      everySeconds: 1,
      configure: (role, config, world) => {
        if (role === 'dealTracker') return configure(role, config, world)
        const pollSeconds = Math.min(config.timing.pollSeconds, MAX_SECONDS)
        const timing = { ...config.timing, retrySeconds: MAX_SECONDS, pollSeconds }
        const unseen = role === 'dealer' && !fetchesPieces && { pieceSources: [] }
        return configure(role, { ...config, timing, ...unseen }, world)
      },
      ...options,
    })
  })
  afterAll(async () => {
    await local?.stop()
    await rm(data, { recursive: true, force: true })
  })

  const at = (role: string) => local!.services[role] as Address
  return {
    get local() {
      return local!
    },
    get data() {
      return data
    },
    at,
    signer: role => ed25519.parse(at(role).key),
  }
}
