import { expect, test } from 'vitest'
import { fanOut, mendLostMessage } from './backlog/backlog.ts'

test('no range fails when the pieces of an aggregate exceed the rate of their partition key for a long time', async () => {
  // Earlier code abandoned a batch after 6 s.
  const { list, include, included, throttled } = await fanOut({ pieces: 1_600, writesPerSecond: 50 })
  expect([list.failed, list.reason, include.failed, include.reason]).toEqual([0, undefined, 0, undefined])
  expect(included).toBe(1_600)
  expect(include.seconds).toBeGreaterThan(30)
  expect(throttled).toBeGreaterThan(10)
})

test('a lost message is sent again by the next sweep, however many pieces wait for their aggregate', async () => {
  expect(await mendLostMessage({ waiting: 20_000, lane: 'waiting', sweeps: 2 })).toMatchObject({ sweep: 1 })
})

test('pieces that wait where earlier code put them stand in the way once, and a sweep handles thousands of them', async () => {
  const { sweep, swept } = await mendLostMessage({ waiting: 20_000, lane: 'own', sweeps: 2 })
  expect(sweep).toBeLessThanOrEqual(2)
  expect(swept).toBeGreaterThan(15_000)
})
