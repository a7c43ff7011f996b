import { mkdirSync, mkdtempDisposableSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Local, startLocal } from '@w3filecoin/local'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findFiles } from '../../src/dev/content.ts'
import { Journey } from '../../src/dev/journey.ts'

/** Sweeps have an interval of 60 s in the resource descriptions, which is not shortened here, and `sync` one of 900 s. */
const EVERY_SECONDS = 900
/** Less than the interval, and far more than a busy machine needs. */
const MAX_MS = 50_000

describe('the first minute with npm start', () => {
  const directory = mkdtempDisposableSync(join(tmpdir(), 'w3filecoin-'))
  const configs = new Map<string, Record<string, unknown>>()
  let local: Local
  beforeAll(async () => {
    local = await startLocal({
      data: join(directory.path, 'data'),
      everySeconds: EVERY_SECONDS,
      configure: (role, config) => {
        configs.set(role, config)
        return config
      },
    })
  }, 60_000)
  afterAll(async () => {
    await local?.stop()
    directory.remove()
  }, 60_000)

  it('takes a file of 7 bytes from its offer to a proof without waiting for the interval of a schedule', {
    timeout: 180_000,
  }, async () => {
    mkdirSync(join(directory.path, 'files'))
    writeFileSync(join(directory.path, 'files', 'file'), '7 bytes')
    const { files } = await findFiles(join(directory.path, 'files'))
    const journey = new Journey({
      files,
      proofs: join(directory.path, 'proofs'),
      local,
      patienceMs: MAX_MS,
      signal: new AbortController().signal,
      onProgress: () => {},
    })
    await journey.travel()
    const [trip] = journey.trips
    expect(trip).toMatchObject({ stage: 'accepted' })
    expect(trip!.tookMs).toBeLessThan(MAX_MS)
  })

  it('an offer without content fails after minutes', () => {
    expect(configs.get('storefront')?.contentWaitSeconds).toBe(5 * 60)
  })
})
