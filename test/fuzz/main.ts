import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startLocal } from '@w3filecoin/local'
import { identities } from './corpus.ts'
import { type Finding, fuzz, type Report } from './fuzz.ts'
import { travel } from './honest.ts'
import { hangUp } from './send.ts'

/**
 * `npm run fuzz -- --seed N --count N`: starts the system, sends mutated messages to its services, and ends with 1 if an
 * answer was not as it must be. `--only INDEX` sends one message of that seed again, and shows what it is made of.
 */
const { values } = parseArgs({
  options: { seed: { type: 'string' }, count: { type: 'string' }, only: { type: 'string' } },
})
const seed = Number(values.seed ?? Math.trunc(Math.random() * 2 ** 30))
const count = Number(values.count ?? 100_000)
const only = values.only === undefined ? undefined : Number(values.only)
if (![seed, count, only ?? 0].every(Number.isSafeInteger))
  throw new Error('--seed, --count and --only are numbers')

const lines = ({ classes, sent, slowest, seconds }: Report): string[] => [
  `${sent} messages in ${seconds.toFixed(0)} s, ${(sent / seconds).toFixed(0)} a second; the slowest took ${slowest.toFixed(0)} ms`,
  ...[...classes]
    .toSorted()
    .flatMap(([kind, names]) => [
      `${kind}:`,
      ...[...names]
        .toSorted(([, one], [, other]) => other - one)
        .map(([name, count]) => `  ${String(count).padStart(7)}  ${name}`),
    ]),
]

/** One finding of each sort, with how many there are: they differ in nothing but CIDs. */
const sorts = ({ findings }: Report): string[] => {
  const bySort = Object.groupBy(findings, ({ what }) => what.replaceAll(/\bba[a-z2-7]{50,}/g, '…'))
  return Object.entries(bySort).flatMap(([sort, all = []]) => [
    `${all.length} times: ${sort}`,
    ...all.slice(0, 2).flatMap(shown),
  ])
}

const shown = ({ index, sample, plan }: Finding): string[] => [
  `  --seed ${seed} --only ${index} (${sample}): ${JSON.stringify(plan)}`,
]

const data = await mkdtemp(join(tmpdir(), 'w3filecoin-fuzz-'))
await writeFile(join(data, 'local.json'), JSON.stringify(await identities()))
const crashes: Error[] = []
const local = await startLocal({
  data,
  everySeconds: 2,
  logLevel: 'error',
  onCrash: error => crashes.push(error),
})
console.log(`Seed ${seed}; logs in ${data}`)

const report = await fuzz({
  local,
  seed,
  indexes: only === undefined ? Array(count).keys() : [only],
  onProgress: (sent, findings) =>
    console.log(`${sent} sent, ${findings} findings, ${crashes.length} crashes`),
})
hangUp()
const trouble = await travel(local)
await local.stop()

for (const line of lines(report)) console.log(line)
for (const line of sorts(report)) console.log(line)
for (const crash of crashes) console.log(`crash: ${crash.message}`)
console.log(`An honest piece afterwards: ${trouble ?? 'arrived'}`)
console.log(`${report.findings.length} findings, ${crashes.length} crashes`)
if (report.findings.length + crashes.length > 0 || trouble) process.exitCode = 1
else await rm(data, { recursive: true })
