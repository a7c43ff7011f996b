import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { type Address, type Local, type LocalOptions, startLocal } from '@w3filecoin/local'
import { afterAll, beforeAll } from 'vitest'

/** The whole system, as the tests of a file share it. */
export interface System {
  readonly local: Local
  /** Address of a service, by its role. */
  at(role: string): Address
  /** The key of a service: what it may do, the tests may do in its name. */
  signer(role: string): Signer
}

/** Seconds until what is not done is looked at again: nobody should wait for that. */
const TIMING = { retrySeconds: 1, pollSeconds: 1 }

/**
 * Starts the system before the tests of a file, on data of its own, and stops it after them. It looks at everything
 * every second, unless a test configures it otherwise.
 */
export const useSystem = ({
  configure = (_, config) => config,
  ...options
}: Omit<LocalOptions, 'data'> = {}): System => {
  let local: Local | undefined
  let data: string

  beforeAll(async () => {
    data = await mkdtemp(join(tmpdir(), 'w3filecoin-'))
    local = await startLocal({
      data,
      everySeconds: 1,
      configure: (role, config, world) =>
        configure(role, role === 'dealTracker' ? config : { ...config, timing: TIMING }, world),
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
    at,
    signer: role => ed25519.parse(at(role).key),
  }
}
