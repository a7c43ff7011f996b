import { expect, test } from 'vitest'
import { checkIndex, checkJourney } from './scale/checks.ts'
import { liveDeal } from './scale/deal.ts'
import { fillIndex } from './scale/full-index.ts'

/** A tenth of DynamoDB's rate, so that some hundred pieces of one group exceed it as 95,000 do. */
const RATE = 100

const lines: string[] = []
const print = (line: string) => lines.push(line)

test('pieces of one agent reach their receipts although one partition key takes a limited rate of writes', async () => {
  expect(await checkJourney(200, RATE, print)).toEqual([])
  expect(lines.join('\n')).toContain('"accepted":200')
})

test('an aggregate is sealed, and its pieces get their receipts, within the limits of Lambda', async () => {
  expect(await checkIndex(600, RATE, print)).toEqual([])
  expect(lines.join('\n')).toContain('600 receipts of piece/accept; 0 rows left in the list')
})

test('no range fails when the pieces of an aggregate exceed the rate of their partition key for a long time', async () => {
  // Earlier code abandoned a batch after 6 s.
  const { runs, deadLetters, throttled, receipts } = await fillIndex(1_600, 50)
  const { failed, longestMs } = runs.get('aggregator/include')!
  expect({ failed, deadLetters, receipts }).toEqual({ failed: 0, deadLetters: 0, receipts: 1_600 })
  expect(longestMs).toBeGreaterThan(10_000)
  expect(throttled).toBeGreaterThan(10)
})

test('a live deal reaches hand-made pieces without a failed run', async () => {
  const { receipts, deadLetters, throttled, runs } = await liveDeal(800, { writesPerSecond: RATE })
  expect({ receipts, deadLetters }).toEqual({ receipts: 800, deadLetters: 0 })
  expect([...runs].filter(([, { failed }]) => failed > 0)).toEqual([])
  expect(throttled).toBeGreaterThan(10)
})
