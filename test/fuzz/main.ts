import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MAX_SEED, readOptions, refuseToRun, wholeNumber } from '../options.ts'
import type { Finding, Report } from './fuzz.ts'
import type { HonestPieces } from './honest-piece.ts'

const MAX_COUNT = 10_000_000
const DEFAULT_COUNT = 100_000

const HELP = `Starts the system on this machine, sends mutated messages to its services, and checks every answer. Beside the messages it
offers honest pieces, which must all be accepted.

  npm run fuzz -- [options]

  --seed N         the seed that determines all messages (default: random)
  --count N        number of messages (default: ${DEFAULT_COUNT})
  --only INDEX     send only the message with this index, and print its result
  --help           print this

A slow answer is a finding only if the message is slow again when it is sent alone, compared with an honest message.
Exit code 0 if there is no finding, 1 if there is one or nothing was sent, 2 if an option is wrong.
`

const options = readOptions({
  script: 'fuzz',
  help: HELP,
  options: {
    seed: wholeNumber(0, MAX_SEED).default(Math.trunc(Math.random() * 2 ** 30)),
    count: wholeNumber(1, MAX_COUNT).optional(),
    only: wholeNumber(0, MAX_COUNT - 1).optional(),
  },
})
const { seed, count, only } = options
if (only !== undefined && count !== undefined) refuseToRun('--only cannot be combined with --count')

// Loading the system takes a second, so wrong options are refused before it.
const { startLocal } = await import('@w3filecoin/local')
const { createKeys } = await import('./corpus.ts')
const { fuzz } = await import('./fuzz.ts')
const { sendHonestPieces } = await import('./honest-piece.ts')
const { closeConnections } = await import('./send.ts')

const printClasses = ({ classes, sent, slowestMs, suspects, measured, seconds }: Report) => {
  console.log(
    `${sent} messages in ${seconds.toFixed(0)} s, ${(sent / seconds).toFixed(0)} per second; the slowest took ${slowestMs.toFixed(0)} ms`,
  )
  if (suspects > 0)
    console.log(`${suspects} answers were slow; ${measured} of them were measured again alone`)
  for (const [kind, names] of [...classes].toSorted()) {
    console.log(`${kind}:`)
    for (const [name, count] of [...names].toSorted(([, one], [, other]) => other - one))
      console.log(`  ${String(count).padStart(7)}  ${name}`)
  }
}

/** Prints at most two findings of a sort, and their number: the findings of a sort differ only in CIDs and times. */
const printFindings = ({ findings }: Report) => {
  const bySort = Object.groupBy(findings, ({ what }) =>
    what.replaceAll(/\bba[a-z2-7]{50,}/g, '…').replaceAll(/\d+ ms/g, '… ms'),
  )
  for (const all of Object.values(bySort)) {
    console.log(`${all!.length} times: ${all![0]!.what}`)
    for (const finding of all!.slice(0, 2)) printFinding(finding)
  }
}

const printFinding = ({ index, sample, plan }: Finding) =>
  console.log(`  --seed ${seed} --only ${index} (${sample}): ${JSON.stringify(plan)}`)

const data = await mkdtemp(join(tmpdir(), 'w3filecoin-fuzz-'))
await writeFile(join(data, 'keys.json'), JSON.stringify(await createKeys()))
const crashes: Error[] = []
const local = await startLocal({
  data,
  everySeconds: 2,
  logLevel: 'error',
  onCrash: error => crashes.push(error),
})
console.log(`Seed ${seed}; logs in ${data}`)

/** Returns the number of failures. */
const run = async (): Promise<number> => {
  let honest: HonestPieces | undefined
  const report = await fuzz({
    local,
    seed,
    indexes: only === undefined ? Array(count ?? DEFAULT_COUNT).keys() : [only],
    beside: async isOver => {
      honest = await sendHonestPieces(local, isOver)
    },
    onProgress: (sent, findings) =>
      console.log(`${sent} sent, ${findings} findings, ${crashes.length} crashes`),
  })
  const { accepted, slowestMs, problems } = honest as HonestPieces
  printClasses(report)
  printFindings(report)
  for (const crash of crashes) console.log(`crash: ${crash.message}`)
  console.log(
    `${accepted} honest pieces beside the messages were accepted; the slowest took ${(slowestMs / 1000).toFixed(0)} s`,
  )
  for (const problem of problems) console.log(`An honest piece was not accepted: ${problem}`)
  console.log(`${report.findings.length} findings, ${crashes.length} crashes`)
  if (report.sent === 0) console.log('Nothing was proven: no message was sent')
  return report.findings.length + crashes.length + problems.length + (report.sent === 0 ? 1 : 0)
}

let failures = 1
try {
  failures = await run()
} catch (cause) {
  console.error(cause)
} finally {
  closeConnections()
  await local.stop()
}
if (failures > 0) process.exitCode = 1
else await rm(data, { recursive: true })
