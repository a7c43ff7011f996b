import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import type { Answer, Job } from './worker.ts'

const HELP = `Runs the four services in a world where everything goes wrong that can, and looks whether anything was lost.

  npm run simulate -- [options]

  --seeds N        so many seeds, one run each (default: 1000)
  --from N         the first of them (default: 1)
  --seed N         one seed, with all that the services log
  --crash-points   one planned journey, with a crash before and after each call that it makes
  --every N        of the crash points, every Nth only
  --stop           stop at the first violation
  --workers N      threads (default: one a processor)
  --help           print this

Exit code 1 if anything was lost. The same seed is the same run, to the byte.
`

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    'crash-points': { type: 'boolean', default: false },
    every: { type: 'string', default: '1' },
    stop: { type: 'boolean', default: false },
    workers: { type: 'string', default: `${availableParallelism()}` },
    help: { type: 'boolean', default: false },
  },
})

/** Something was lost, and nobody wants to know more. */
let stopped = false

/** Has workers do jobs, and hears of each. */
const work = async (jobs: Iterator<Job>, heard: (answer: Answer) => void): Promise<void> => {
  const run = async (): Promise<void> => {
    const worker = new Worker(new URL('./worker.ts', import.meta.url))
    for (let next = jobs.next(); !next.done && !stopped; next = jobs.next()) {
      worker.postMessage(next.value)
      const [answer] = (await once(worker, 'message')) as [Answer]
      heard(answer)
    }
    await worker.terminate()
  }
  await Promise.all(Array.from({ length: Number(values.workers) }, run))
}

const began = performance.now()
const seconds = () => `${Math.round((performance.now() - began) / 1000)} s`
const say = (line: string) => process.stdout.write(`${line}\n`)
const number = (value: number) => value.toLocaleString('en')
const add = (sum: Map<string, number>, more: ReadonlyMap<string, number>) => {
  for (const [name, count] of more) sum.set(name, (sum.get(name) ?? 0) + count)
}
const table = (rows: ReadonlyMap<string, number>) => {
  for (const [name, count] of [...rows].sort(([, a], [, b]) => b - a))
    say(`  ${number(count).padStart(12)}  ${name}`)
}

const simulateSeeds = async (from: number, count: number, chatty: boolean): Promise<number> => {
  const injected = new Map<string, number>()
  const checked = new Map<string, number>()
  const lost: { seed: number; what: string }[] = []
  let [done, offers, calls, hours] = [0, 0, 0, 0]
  const jobs = (function* (): Generator<Job> {
    for (let seed = from; seed < from + count; seed++) yield { seed, chatty }
  })()
  await work(jobs, ({ report }) => {
    done += 1
    offers += report.offers
    calls += report.calls
    hours += report.took / 3_600_000
    add(injected, report.injected)
    add(checked, report.checked)
    for (const { invariant, what } of report.violations) {
      stopped ||= values.stop
      lost.push({ seed: report.seed, what: `${invariant}: ${what}` })
      say(`seed ${report.seed}: ${invariant}: ${what}`)
    }
    if (done % 500 === 0) say(`${number(done)} of ${number(count)} seeds after ${seconds()}`)
    if (chatty) say(`seed ${report.seed}: ${report.calls} calls, trace ${report.trace}`)
  })
  say(
    `\n${number(done)} ${done === 1 ? 'seed' : 'seeds'} in ${seconds()}: ${number(offers)} offers, ${number(hours / 24)} days of their own time`,
  )
  say(`${number(calls)} calls of functions. What went wrong:`)
  table(injected)
  say('What was checked, and how often:')
  table(checked)
  const failing = lost.map(({ seed }) => seed).sort((a, b) => a - b)
  say(`${number(lost.length)} violations`)
  if (failing.length > 0)
    say(`The first failing seed is ${failing[0]}: npm run simulate -- --seed ${failing[0]}`)
  return failing.length
}

const visitCrashPoints = async (every: number): Promise<number> => {
  const { CRASHES, journey } = await import('./crash-points.ts')
  const undisturbed = await journey()
  const { report } = undisturbed
  say(
    `The journey without a crash: ${report.offers} offers, ${number(report.calls)} calls, ${report.violations.length} violations`,
  )
  let [visited, differences] = [0, 0]
  const jobs = (function* (): Generator<Job> {
    for (let at = 0; at < report.calls; at += every)
      for (const how of CRASHES) yield { crash: { at, how }, undisturbed }
  })()
  await work(jobs, ({ report: { violations }, crash, difference = [] }) => {
    visited += 1
    const wrong = [...difference, ...violations.map(({ invariant, what }) => `${invariant}: ${what}`)]
    if (wrong.length > 0) {
      stopped ||= values.stop
      differences += 1
      say(`${crash?.how} call ${crash?.at}:`)
      for (const line of wrong.slice(0, 10)) say(`  ${line}`)
    }
    if (visited % 500 === 0) say(`${number(visited)} crash points after ${seconds()}`)
  })
  say(
    `\n${number(visited)} crash points visited in ${seconds()}: before and after ${every === 1 ? 'each' : `every ${every}th`} of ${number(report.calls)} calls`,
  )
  say(`${number(differences)} differences`)
  return differences + report.violations.length
}

if (values.help) say(HELP)
else {
  const failures = values['crash-points']
    ? await visitCrashPoints(Number(values.every))
    : values.seed
      ? await simulateSeeds(Number(values.seed), 1, true)
      : await simulateSeeds(Number(values.from), Number(values.seeds), false)
  process.exitCode = failures === 0 ? 0 : 1
}
