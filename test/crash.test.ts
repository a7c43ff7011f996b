import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Offer } from './crash/agent.ts'
import { crash, MIN_ACKNOWLEDGED, NothingProven, planRounds, waitForMore } from './crash/crash.ts'

/** This seed kills in three ways, and deletes queues with messages of unfinished pieces. One piece is wrong and one faulty. */
const SEED = 3750

/** `npm run crash` runs more rounds. */
test.each([
  ['sqlite', ['system', 'system', 'system']],
  ['dynamodb', ['everything at once', 'system', 'engine']],
] as const)(
  'a system on %s that is killed repeatedly, once with the loss of all queues, loses nothing',
  {
    timeout: 300_000,
  },
  async (engine, victims) => {
    const directory = await realpath(await mkdtemp(join(tmpdir(), 'w3filecoin-crash-')))
    onTestFinished(() => rm(directory, { recursive: true }))
    const { rounds, offers, losses } = await crash({ directory, engine, seed: SEED, rounds: 3 })
    expect(losses).toEqual([])
    expect(rounds.map(({ killed }) => killed)).toEqual(victims)
    expect(rounds.map(({ lostMessages }) => lostMessages !== undefined)).toEqual([false, true, false])
    expect(new Set(offers.map(({ kind }) => kind))).toEqual(new Set(['good', 'wrong', 'faulty']))
  },
)

test('every plan has a kill after acknowledged offers, and enough offers for it', () => {
  for (let seed = 0; seed < 500; seed++)
    for (const rounds of [1, 2, 5]) {
      const plans = planRounds(seed, rounds)
      expect(plans.length).toBe(rounds)
      expect(plans.some(({ milestone }) => ['acknowledged', 'accepted'].includes(milestone))).toBe(true)
      for (const { offers } of plans) expect(offers.length).toBeGreaterThanOrEqual(MIN_ACKNOWLEDGED)
    }
})

describe('a round whose offers are not acknowledged', () => {
  const pending = (lastError: string): Offer => ({ kind: 'good', lastError }) as Offer

  test('proves nothing, and the error states how many were acknowledged and why the other offers were not', async () => {
    const offers = [pending('connect ECONNREFUSED'), pending('connect ECONNREFUSED')]
    const agent = { offers, acknowledged: [] as Offer[], accepted: [] }
    const waiting = waitForMore('acknowledged', MIN_ACKNOWLEDGED, agent, 100)
    agent.acknowledged.push(pending(''))
    await expect(waiting).rejects.toThrow(
      new NothingProven(
        'Nothing was proven: in 0.1 s, 1 more offers were acknowledged, and 3 are needed before a kill. The last error of an offer: connect ECONNREFUSED',
      ),
    )
  })

  test('continues to its kill once enough offers are acknowledged', async () => {
    const agent = { offers: [], acknowledged: [pending('')], accepted: [] }
    const waiting = waitForMore('acknowledged', MIN_ACKNOWLEDGED, agent, 10_000)
    agent.acknowledged.push(pending(''), pending(''), pending(''))
    await waiting
  })
})
