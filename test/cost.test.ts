import { expect, test } from 'vitest'
import { burst } from './aws/cost.ts'

const PIECES = 400

/**
 * The cost of a piece in units of AWS, from the services' own functions. A change that costs a write fails here. If the cost is
 * meant to change, change docs/performance.md too: `npm run bench cost` prints dollars.
 */
test('a piece costs the units that docs/performance.md names', async () => {
  const { used } = await burst(PIECES)
  const each = Object.fromEntries(Object.entries(used).map(([unit, number]) => [unit, number / PIECES]))
  /** Of 400 pieces, the sweeps and looks that happen anyway are a part that does not count here. */
  const near = (unit: string, expected: number, tolerance: number) => {
    expect.soft(each[unit], unit).toBeGreaterThan(expected * (1 - tolerance))
    expect.soft(each[unit], unit).toBeLessThan(expected * (1 + tolerance))
  }
  near('writes', 27.3, 0.02)
  near('indexWrites', 9.1, 0.02)
  near('reads', 22.6, 0.05)
  near('sqs', 0.9, 0.1)
  near('s3Puts', 0.075, 0.1)
  near('s3Gets', 1.03, 0.05)
  near('http', 0.17, 0.2)
  near('logBytes', 4_130, 0.05)
})
