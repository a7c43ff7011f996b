import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { crash } from './crash/crash.ts'

/** Kills in three ways, loses the queues of pieces that are on their way, a wrong and a faulty one among them. */
const SEED = 3750

/** `npm run crash` does more of it. */
test('killed again and again, once with the loss of all queues, the system loses nothing', {
  timeout: 180_000,
}, async () => {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'w3filecoin-crash-')))
  onTestFinished(() => rm(directory, { recursive: true }))
  const { rounds, offers, losses } = await crash({ directory, seed: SEED, rounds: 3 })
  expect(losses).toEqual([])
  expect(rounds.map(({ killed }) => killed)).toEqual(['everything at once', 'system', 'engine'])
  expect(rounds.map(({ lostMessages }) => lostMessages !== undefined)).toEqual([false, true, false])
  expect(new Set(offers.map(({ kind }) => kind))).toEqual(new Set(['good', 'wrong', 'faulty']))
})
