import { describe, expect, test } from 'vitest'
import { CRASHES, difference, type Journey, type JourneyName, journey } from './simulation/crash-points.ts'
import { simulateSeed } from './simulation/simulate.ts'

/**
 * The four services in a world with every kind of failure: see docs/reliability.md. `simulation-seeds-*.test.ts` run 240
 * seeds of it, `npm run simulate` as many as you want.
 */

/** Defects that the simulation found, each with a seed that fails without its fix (see `simulation/mutants.ts`). */
const DEFECTS: [seed: number, defect: string][] = [
  [2, 'a message was abandoned because another service was unreachable'],
  [13, 'one wrong answer of the content source counted against the piece'],
]

describe('nothing is lost', () => {
  test.each(DEFECTS)('with seed %i, where once %s', async seed => {
    expect((await simulateSeed(seed)).violations).toEqual([])
  })

  test('and a seed always gives the same run', async () => {
    const [one, again, other] = [await simulateSeed(7), await simulateSeed(7), await simulateSeed(8)]
    expect(again).toEqual(one)
    expect(other.trace).not.toBe(one.trace)
  })
})

/** Of how many calls one is visited; `npm run simulate -- --crash-points` visits all. */
const EVERY: Record<JourneyName, number> = { offers: 23, orders: 97 }

describe.each(Object.entries(EVERY) as [JourneyName, number][])(
  'a journey of %s with a crash ends like the journey without a crash',
  (name, every) => {
    let undisturbed: Journey

    test('the journey without a crash has no violation', async () => {
      undisturbed = await journey(name)
      expect(undisturbed.report.violations).toEqual([])
      expect(undisturbed.end.length).toBeGreaterThan(50)
    })

    test.each(CRASHES)('with %s', { timeout: 600_000 }, async how => {
      for (let at = 0; at < undisturbed.report.calls; at += every) {
        const disturbed = await journey(name, { at, how })
        const { report } = disturbed
        expect(report.injected.get(how), `call ${at}`).toBe(1)
        expect([...report.violations, ...difference(undisturbed, disturbed)], `call ${at}`).toEqual([])
      }
    })
  },
)
