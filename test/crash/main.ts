import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { MAX_SEED, readOptions, wholeNumber } from '../options.ts'
import type { Round } from './crash.ts'

const HELP = `Kills the system on this machine with kill -9 in every round, and checks that no acknowledged offer is lost.

  npm run crash -- [options]

  --seed N         the seed that determines the plan (default: random)
  --rounds N       number of rounds (default: 20)
  --engine NAME    the engine for tables: sqlite or dynamodb (default: sqlite)
  --help           print this

At least one kill comes after 3 acknowledged offers. Exit code 0 if nothing was lost, 1 if something was lost or too few
offers were acknowledged to prove anything, 2 if an option is wrong.
`

const { seed, rounds, engine } = readOptions({
  script: 'crash',
  help: HELP,
  options: {
    seed: wholeNumber(0, MAX_SEED).default(Math.trunc(Math.random() * 2 ** 30)),
    rounds: wholeNumber(1, 1000).default(20),
    engine: z.enum(['sqlite', 'dynamodb'], { error: 'must be sqlite or dynamodb' }).default('sqlite'),
  },
})

// Loading the client takes a second, so wrong options are refused before it.
const { crash, NothingProven } = await import('./crash.ts')

const formatSeconds = (milliseconds: number) => `${(milliseconds / 1000).toFixed(1)} s`

const formatRound = (round: Round) => {
  const { number, milestone, afterMs, killedAtMs, killed, lostMessages, acknowledged, ended } = round
  return [
    `Round ${`${number}`.padStart(2)}: killed after ${`${killedAtMs.toFixed(0)}`.padStart(5)} ms (${milestone} + ${afterMs} ms): ${killed}`,
    ...(lostMessages === undefined ? [] : [`queues deleted before, with ${lostMessages} messages`]),
    `${acknowledged} offers acknowledged, ${ended} ended`,
  ].join('; ')
}

// The system is killed when this process exits.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130))

const directory = await realpath(await mkdtemp(join(tmpdir(), 'w3filecoin-crash-')))
console.log(`Seed ${seed}; data and logs in ${directory}`)
const replay = `npm run crash -- --seed ${seed} --rounds ${rounds} --engine ${engine} repeats this plan`
try {
  const startedAt = performance.now()
  const report = await crash({
    directory,
    engine,
    seed,
    rounds,
    onRound: round => console.log(formatRound(round)),
  })
  const { offers, receipts, recoveryMs, losses } = report
  const countKind = (kind: string) => `${offers.filter(offer => offer.kind === kind).length} ${kind}`
  console.log(
    `${rounds} rounds in ${formatSeconds(performance.now() - startedAt)}; all offers ended ${formatSeconds(recoveryMs)} after the last start`,
  )
  console.log(
    `${offers.length} offers (${['good', 'wrong', 'faulty'].map(countKind).join(', ')}), ${report.rounds.at(-1)?.acknowledged} acknowledged before a kill; ${receipts} receipts`,
  )
  for (const loss of losses) console.log(`lost: ${loss}`)
  console.log(losses.length === 0 ? 'Nothing is lost' : `${losses.length} losses; ${replay}`)
  if (losses.length > 0) process.exitCode = 1
  else await rm(directory, { recursive: true })
} catch (cause) {
  console.error(cause instanceof NothingProven ? cause.message : cause)
  console.error(replay)
  process.exitCode = 1
}
process.exit()
