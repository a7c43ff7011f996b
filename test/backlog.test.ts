import { expect, test } from 'vitest'
import { mendLostMessage } from './backlog/backlog.ts'

test('a lost message is sent again by the next sweep, however many pieces wait for their aggregate', async () => {
  expect(await mendLostMessage({ waiting: 20_000, lane: 'waiting', sweeps: 2 })).toMatchObject({ sweep: 1 })
})

test('pieces that wait where earlier code put them stand in the way once, and a sweep handles thousands of them', async () => {
  const { sweep, swept } = await mendLostMessage({ waiting: 20_000, lane: 'own', sweeps: 2 })
  expect(sweep).toBeLessThanOrEqual(2)
  expect(swept).toBeGreaterThan(15_000)
})
