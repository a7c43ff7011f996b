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

/** Starts the system before the tests of a file, on data of its own, and stops it after them. */
export const useSystem = (options: Omit<LocalOptions, 'data'> = {}): System => {
  let local: Local | undefined
  let data: string

  beforeAll(async () => {
    data = await mkdtemp(join(tmpdir(), 'w3filecoin-'))
    local = await startLocal({ data, ...options })
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
