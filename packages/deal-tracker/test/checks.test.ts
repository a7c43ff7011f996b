import type { Finding, HealthRecord } from '@w3filecoin/runtime'
import { signerOf } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { dealTrackerChecks, findingOf, findingOfFailure } from '../src/checks.ts'
import type { SourceRecord } from '../src/domain/source.ts'

const NOW = Date.UTC(2026, 0, 2)
const HOUR = 3_600_000
const epochOf = (time: number) => Math.floor((time / 1000 - 1_598_306_400) / 30)

/** Runs the check of a source with this record. */
const check = async (
  record: Partial<SourceRecord> | undefined,
  previous?: Partial<HealthRecord>,
): Promise<Finding> => {
  const [source] = dealTrackerChecks({
    config: {
      clients: [],
      sources: [{ name: 'chain', kind: 'active-replicas', url: 'https://chain.test/' }],
      maxAgeSeconds: 72 * 3600,
    },
    id: await signerOf('tracker'),
    stores: { source: { get: async () => record } as never },
    peer: () => {
      throw new Error('There is no peer')
    },
    fetch,
    now: () => NOW,
    random: () => '',
    didWeb: { fetch, allowPrivate: false },
  })
  return source!.run(previous as HealthRecord)
}
const good = (ago: number, stateAgo = ago) => ({ good: { at: NOW - ago, epoch: epochOf(NOW - stateAgo) } })

describe('the check of a source', () => {
  it('passes if its last good run is at most an hour old, and its chain state far from the limit', async () => {
    expect(await check(good(HOUR))).toEqual({
      ok: true,
      message: `Read at ${new Date(NOW - HOUR).toISOString()}, epoch ${epochOf(NOW - HOUR)}`,
    })
  })

  it('fails if no run was good for longer, or if the chain state stands still', async () => {
    expect(await check(good(HOUR + 1))).toMatchObject({ ok: false, problem: 'SourceBlind' })
    expect(await check(good(0, 36 * HOUR))).toMatchObject({ ok: true })
    expect(await check(good(0, 37 * HOUR))).toMatchObject({
      ok: false,
      problem: 'SourceStandsStill',
      message: expect.stringContaining('37 hours old'),
    })
  })

  it('tolerates for an hour that a source was never read', async () => {
    const first = await check(undefined)
    expect(first).toMatchObject({ ok: true, problem: 'NeverRead' })
    expect(await check({}, { ...first, since: NOW - HOUR })).toMatchObject({ ok: true })
    expect(await check({}, { ...first, since: NOW - HOUR - 1 })).toMatchObject({
      ok: false,
      problem: 'NeverRead',
    })
    // It still fails afterwards, although its state is younger.
    expect(await check({}, { ok: false, problem: 'NeverRead', since: NOW })).toMatchObject({ ok: false })
  })
})

describe('the finding of a run', () => {
  const run = { name: 'chain', deals: 5, malformed: 0, refused: 0 }

  it('fails if the report was incomplete', () => {
    expect(findingOf(run)).toMatchObject({ ok: true })
    expect(findingOf({ ...run, refused: 2 })).toMatchObject({
      ok: false,
      problem: 'SourceIncomplete',
      message: expect.stringContaining('2 beyond the greatest number'),
    })
  })

  it('has the reason why the report was refused or not read', () => {
    const refusal = Object.assign(new Error('Its chain state is old'), { name: 'StaleSource' })
    expect(findingOfFailure('chain', refusal)).toEqual({
      ok: false,
      problem: 'StaleSource',
      message:
        'The last run of the source chain in the settings of the deal-tracker failed: Its chain state is old',
    })
    expect(findingOfFailure('chain', new TypeError('fetch failed'))).toMatchObject({
      problem: 'SourceNotRead',
    })
  })
})
