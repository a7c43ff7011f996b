import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { z } from 'zod'
import { FLAG, MAX_SEED, readOptions, refuseToRun, wholeNumber } from '../options.ts'
import type { JourneyName } from './crash-points.ts'
import { ELEMENTS, type Element } from './elements.ts'
import type { Answer, Job } from './worker.ts'

const MAX_SEEDS = 1_000_000
const MAX_WORKERS = 64

const HELP = `Runs the four services in a simulated world with faults, and checks that no acknowledged offer is lost.

  npm run simulate -- [options]

  --seeds N        run N seeds (default: 1000)
  --from N         start with seed N (default: 1)
  --seed N         run only seed N, and print the log of the services
  --element NAME   give every seed this element and no other; without it, seeds choose among:
                   ${Object.keys(ELEMENTS).join(', ')}
  --crash-points   run two planned journeys, of offers and of orders, for each of their calls, with a crash before and after it
  --every N        with --crash-points: visit only every Nth call (default: 1)
  --stop           stop at the first violation
  --workers N      use N threads (default: one per processor)
  --help           print this

Exit code 0 if nothing was lost, 1 if something was lost or nothing was run, 2 if an option is wrong.
The same seed gives the same run, byte for byte.
`

const options = readOptions({
  script: 'simulate',
  help: HELP,
  options: {
    seeds: wholeNumber(1, MAX_SEEDS).optional(),
    from: wholeNumber(0, MAX_SEED - MAX_SEEDS).optional(),
    seed: wholeNumber(0, MAX_SEED).optional(),
    element: z
      .enum(Object.keys(ELEMENTS) as Element[], {
        error: `must be one of: ${Object.keys(ELEMENTS).join(', ')}`,
      })
      .optional(),
    'crash-points': FLAG,
    every: wholeNumber(1, 1_000_000).optional(),
    stop: FLAG,
    workers: wholeNumber(1, MAX_WORKERS).default(Math.min(availableParallelism(), MAX_WORKERS)),
  },
})
const { seeds, from, seed, element, 'crash-points': crashPoints, every, stop, workers } = options
const range = seeds !== undefined || from !== undefined
if (every !== undefined && !crashPoints) refuseToRun('--every needs --crash-points')
if (crashPoints && (range || seed !== undefined || element !== undefined))
  refuseToRun('--crash-points cannot be combined with --seeds, --from, --seed or --element')
if (seed !== undefined && range) refuseToRun('--seed cannot be combined with --seeds or --from')

/** With `--stop`: a violation was found, so no further job is started. */
let stopped = false

/** Has the workers run the jobs, and calls `onAnswer` with each answer. */
const runJobs = async (jobs: Iterator<Job>, onAnswer: (answer: Answer) => void): Promise<void> => {
  const runWorker = async (): Promise<void> => {
    const worker = new Worker(new URL('./worker.ts', import.meta.url))
    for (let next = jobs.next(); !next.done && !stopped; next = jobs.next()) {
      worker.postMessage(next.value)
      const [answer] = (await once(worker, 'message')) as [Answer]
      onAnswer(answer)
    }
    await worker.terminate()
  }
  await Promise.all(Array.from({ length: workers }, runWorker))
}

const startedAt = performance.now()
const formatElapsed = () => `${Math.round((performance.now() - startedAt) / 1000)} s`
const print = (line: string) => process.stdout.write(`${line}\n`)
const format = (value: number) => value.toLocaleString('en')
const add = (sum: Map<string, number>, more: ReadonlyMap<string, number>) => {
  for (const [name, count] of more) sum.set(name, (sum.get(name) ?? 0) + count)
}
const printTable = (rows: ReadonlyMap<string, number>) => {
  for (const [name, count] of [...rows].sort(([, a], [, b]) => b - a))
    print(`  ${format(count).padStart(12)}  ${name}`)
}

/** Returns the number of violations; a run that checked nothing is one failure. */
const simulateSeeds = async (first: number, count: number, withLog: boolean): Promise<number> => {
  const injected = new Map<string, number>()
  const checked = new Map<string, number>()
  const elements = new Map<string, number>()
  const failingSeeds: number[] = []
  let [done, offers, calls, hours] = [0, 0, 0, 0]
  const jobs = (function* (): Generator<Job> {
    for (let seed = first; seed < first + count; seed++) yield { seed, chatty: withLog, only: element }
  })()
  await runJobs(jobs, ({ report }) => {
    done += 1
    offers += report.offers
    calls += report.calls
    hours += report.took / 3_600_000
    add(injected, report.injected)
    add(checked, report.checked)
    add(elements, new Map(report.elements.map(name => [name, 1])))
    const seedName = [`seed ${report.seed}`, ...report.elements].join(', ')
    for (const { invariant, what } of report.violations) {
      stopped ||= stop
      failingSeeds.push(report.seed)
      print(`${seedName}: ${invariant}: ${what}`)
    }
    if (done % 500 === 0) print(`${format(done)} of ${format(count)} seeds after ${formatElapsed()}`)
    if (withLog) print(`seed ${report.seed}: ${report.calls} calls, trace ${report.trace}`)
  })
  print(
    `\n${format(done)} ${done === 1 ? 'seed' : 'seeds'} in ${formatElapsed()}: ${format(offers)} offers, ${format(hours / 24)} days of simulated time`,
  )
  print(`${format(calls)} calls of functions. Faults that were injected:`)
  printTable(injected)
  print('Seeds with each element:')
  printTable(elements)
  print('Checks of each invariant:')
  printTable(checked)
  print(`${format(failingSeeds.length)} violations`)
  if (failingSeeds.length > 0) {
    const lowest = Math.min(...failingSeeds)
    const only = element === undefined ? '' : ` --element ${element}`
    print(`The first failing seed is ${lowest}: npm run simulate -- --seed ${lowest}${only}`)
  }
  return failingSeeds.length + failIfNothing({ seeds: done, offers, checks: sum(checked) })
}

/** Visits the crash points of all journeys. Returns the number of them with a difference. */
const visitCrashPoints = async (every: number): Promise<number> => {
  const { JOURNEYS } = await import('./crash-points.ts')
  let wrong = 0
  for (const name of Object.keys(JOURNEYS) as JourneyName[])
    if (!stopped) wrong += await visitJourney(name, every)
  return wrong
}

/** Returns the number of crash points with a difference; a run that visited none is one failure. */
const visitJourney = async (name: JourneyName, every: number): Promise<number> => {
  const { CRASHES, journey } = await import('./crash-points.ts')
  const undisturbed = await journey(name)
  const { report } = undisturbed
  print(
    `The journey of ${name} without a crash: ${report.offers} offers, ${format(report.calls)} calls, ${report.violations.length} violations`,
  )
  let [visited, differences] = [0, 0]
  const jobs = (function* (): Generator<Job> {
    for (let at = 0; at < report.calls; at += every)
      for (const how of CRASHES) yield { crash: { at, how }, undisturbed }
  })()
  await runJobs(jobs, ({ report: { violations }, crash, difference = [] }) => {
    visited += 1
    const wrong = [...difference, ...violations.map(({ invariant, what }) => `${invariant}: ${what}`)]
    if (wrong.length > 0) {
      stopped ||= stop
      differences += 1
      print(`${crash?.how} call ${crash?.at} of the journey of ${name}:`)
      for (const line of wrong.slice(0, 10)) print(`  ${line}`)
    }
    if (visited % 500 === 0) print(`${format(visited)} crash points after ${formatElapsed()}`)
  })
  print(
    `\n${format(visited)} crash points visited in ${formatElapsed()}: before and after ${every === 1 ? 'each' : `every ${every}th`} of ${format(report.calls)} calls`,
  )
  print(`${format(differences)} differences`)
  const { offers, checked } = report
  return (
    differences +
    report.violations.length +
    failIfNothing({ 'crash points': visited, offers, checks: sum(checked) })
  )
}

const sum = (counts: ReadonlyMap<string, number>): number =>
  [...counts.values()].reduce((total, count) => total + count, 0)

/** Returns 1, and prints why, if one of the counts is 0: a run without it proves nothing. */
const failIfNothing = (counts: Record<string, number>): number => {
  const missing = Object.keys(counts).filter(name => !(counts[name]! > 0))
  if (missing.length === 0) return 0
  print(`Nothing was proven: the run had no ${missing.join(' and no ')}`)
  return 1
}

const simulate = () => {
  if (crashPoints) return visitCrashPoints(every ?? 1)
  if (seed !== undefined) return simulateSeeds(seed, 1, true)
  return simulateSeeds(from ?? 1, seeds ?? 1000, false)
}

process.exitCode = (await simulate()) === 0 ? 0 : 1
