import { describe, expect, test } from 'vitest'
import { CRASHES, difference, type Journey, journey } from './simulation/crash-points.ts'
import { simulateSeed } from './simulation/simulate.ts'

/**
 * The four services in a world where everything goes wrong that can: see docs/reliability.md. `npm run simulate` runs more
 * of it.
 */

/** What was found wrong once, each with a seed that shows it in the code as it was (see `simulation/mutants.ts`). */
const FOUND: [seed: number, what: string][] = [
  [2, 'a message was given up for a service that was away'],
  [14, 'what a source gave for the content once was held against the piece'],
]

const SEEDS = 240
const BATCH = 20

describe('nothing is lost', () => {
  test.each(FOUND)('with seed %i, with which once %s', async seed => {
    expect((await simulateSeed(seed)).violations).toEqual([])
  })

  test.each(Array.from({ length: SEEDS / BATCH }, (_, n) => n * BATCH + 1))(
    `with seed %i and the ${BATCH - 1} after it`,
    { timeout: 120_000 },
    async first => {
      for (let seed = first; seed < first + BATCH; seed++) {
        const { violations } = await simulateSeed(seed)
        expect(violations, `seed ${seed}`).toEqual([])
      }
    },
  )

  test('and the same seed is the same run', async () => {
    const [one, again, other] = [await simulateSeed(7), await simulateSeed(7), await simulateSeed(8)]
    expect(again).toEqual(one)
    expect(other.trace).not.toBe(one.trace)
  })
})

describe('a journey with a crash ends as one without', () => {
  /** One in so many; `npm run simulate -- --crash-points` visits all. */
  const EVERY = 23
  let undisturbed: Journey

  test('there is one to compare with', async () => {
    undisturbed = await journey()
    expect(undisturbed.report.violations).toEqual([])
    expect(undisturbed.end.length).toBeGreaterThan(50)
  })

  test.each(CRASHES)('%s', { timeout: 120_000 }, async how => {
    for (let at = 0; at < undisturbed.report.calls; at += EVERY) {
      const disturbed = await journey({ at, how })
      const { report } = disturbed
      expect(report.injected.get(how), `call ${at}`).toBe(1)
      expect([...report.violations, ...difference(undisturbed, disturbed)], `call ${at}`).toEqual([])
    }
  })
})
