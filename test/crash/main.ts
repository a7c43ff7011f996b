import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { crash, type Round } from './crash.ts'

/**
 * `npm run crash -- --seed N --rounds N`: kills the local system again and again, as the seed has it, and ends with 1 if
 * anything was lost by that.
 */
const { values } = parseArgs({ options: { seed: { type: 'string' }, rounds: { type: 'string' } } })
const seed = Number(values.seed ?? Math.trunc(Math.random() * 2 ** 30))
const rounds = Number(values.rounds ?? 20)
if (![seed, rounds].every(Number.isSafeInteger)) throw new Error('--seed and --rounds are numbers')

const seconds = (milliseconds: number) => `${(milliseconds / 1000).toFixed(1)} s`

const shown = ({ number, milestone, after, killedAt, killed, lostMessages, acknowledged, ended }: Round) =>
  [
    `Round ${`${number}`.padStart(2)}: killed after ${`${killedAt.toFixed(0)}`.padStart(5)} ms (${milestone} + ${after} ms): ${killed}`,
    ...(lostMessages === undefined ? [] : [`queues deleted before, with ${lostMessages} messages`]),
    `${acknowledged} offers acknowledged, ${ended} ended`,
  ].join('; ')

// On exit, the system is ended.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130))

const directory = await realpath(await mkdtemp(join(tmpdir(), 'w3filecoin-crash-')))
console.log(`Seed ${seed}; data and logs in ${directory}`)
const replay = `npm run crash -- --seed ${seed} --rounds ${rounds} does the same again`
try {
  const began = performance.now()
  const { offers, receipts, recovery, losses } = await crash({
    directory,
    seed,
    rounds,
    onRound: round => console.log(shown(round)),
  })
  const of = (kind: string) => `${offers.filter(offer => offer.kind === kind).length} ${kind}`
  console.log(
    `${rounds} rounds in ${seconds(performance.now() - began)}; after the last start all was done in ${seconds(recovery)}`,
  )
  console.log(
    `${offers.length} offers (${['good', 'wrong', 'faulty'].map(of).join(', ')}), ${receipts} receipts`,
  )
  for (const loss of losses) console.log(`lost: ${loss}`)
  console.log(losses.length === 0 ? 'Nothing is lost' : `${losses.length} losses; ${replay}`)
  if (losses.length > 0) process.exitCode = 1
  else await rm(directory, { recursive: true })
} catch (cause) {
  console.error(cause)
  console.error(replay)
  process.exitCode = 1
}
process.exit()
