import { expect, test } from 'vitest'
import { simulateSeed } from './simulation/simulate.ts'

/** Seeds in one test. */
const BATCH = 20

/** Declares the tests that no seed from `first` to `last` leads to a violation. Each file takes a share of the seeds. */
export const testSeeds = (first: number, last: number): void => {
  const batches = Array.from({ length: (last - first + 1) / BATCH }, (_, n) => first + n * BATCH)
  test.each(batches)(
    `nothing is lost with seed %i and the ${BATCH - 1} after it`,
    { timeout: 600_000 },
    async from => {
      for (let seed = from; seed < from + BATCH; seed++) {
        const { violations } = await simulateSeed(seed)
        expect(violations, `seed ${seed}`).toEqual([])
      }
    },
  )
}
