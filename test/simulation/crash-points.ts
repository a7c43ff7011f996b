import type { Receipt } from '@ucanto/interface'
import { type CallFault, Choices, faultAt, NONE } from '@w3filecoin/testing/deterministic'
import { CORRECT_CLOCKS } from './clocks.ts'
import { receiptsOf } from './receipts.ts'
import { plannedScenario, plannedTwins } from './scenario.ts'
import { SETTINGS, type System } from './services.ts'
import { type Course, type Report, simulate } from './simulate.ts'

/** At every call, its function is killed once before the call takes effect, and once after. */
export const CRASHES = ['killBefore', 'killAfter'] as const satisfies CallFault[]
export type Crash = (typeof CRASHES)[number]

const SEED = 1

/** One journey: pieces in two groups, one with the wrong content, and one that storage providers reject. */
export const plannedCourse = (): Course => ({
  scenario: plannedScenario(),
  elements: new Set(),
  clocks: CORRECT_CLOCKS,
  faults: NONE,
  healsAt: Infinity,
  lag: 0,
  duplicates: 0,
  losses: [],
  outages: [],
  contentFaults: 0,
  chainFaults: 0,
  addressFaults: 0,
  market: {
    refusals: 0,
    silence: 0,
    contradictions: 0,
    changeOfMind: [0, 0],
    decision: [6 * 3_600_000, 6 * 3_600_000],
    labels: false,
    numbering: [0, 0],
  },
})

export interface Journey {
  report: Report
  /** The state at the end, without times: every receipt, and the stage of every record. */
  end: string[]
}

/** Runs the journey, and an equal aggregate of another aggregator, without a crash, or with one at a call. */
export const journey = async (crash?: { at: number; how: Crash }): Promise<Journey> => {
  const planned = plannedCourse()
  const { report, system } = await simulate(SEED, new Choices(SEED), {
    ...planned,
    scenario: plannedTwins(),
    // Labels tell the deals of equal aggregates apart, whichever is made first.
    market: { ...planned.market, labels: true },
    ...(crash && { faults: faultAt(crash.at, crash.how) }),
  })
  return { report, end: endState(system) }
}

/** Maximum delay after a crash, in milliseconds: the interrupted step waits for its next check, and a later step may too. */
const DELAY = 2 * SETTINGS.timing.pollMs

/** Returns the differences at the end: missing lines (`-`), extra lines (`+`), and a delay that is too long. */
export const difference = (undisturbed: Journey, { report, end }: Journey): string[] => {
  const [wanted, found] = [new Set(undisturbed.end), new Set(end)]
  const late = report.took - undisturbed.report.took
  return [
    ...undisturbed.end.filter(line => !found.has(line)).map(line => `- ${line}`),
    ...end.filter(line => !wanted.has(line)).map(line => `+ ${line}`),
    ...(late > DELAY ? [`+ ${Math.round(late / 3_600_000)} hours`] : []),
  ]
}

/** Matches a time in a key: 14 digits. */
const TIME = /\b\d{14}\b/g

const endState = ({ services }: System): string[] =>
  [...services.values()]
    .flatMap(service => [
      ...[...receiptsOf(service)].map(
        ([task, receipt]: [string, Receipt]) => `${service.name} receipt of ${task}: ${receipt.root.cid}`,
      ),
      ...Object.entries(service.tables).flatMap(([table, { items }]) =>
        [...items].map(([key, item]) => {
          const { stage, aggregateId, openRanges, sequence, history } = item
          const stages = (history as { stage: string }[] | undefined)?.map(({ stage }) => stage)
          return `${service.name} ${table} ${key.replaceAll(TIME, 'time')}: ${JSON.stringify({ stage, aggregateId, openRanges, sequence, stages })}`
        }),
      ),
    ])
    // Leave out the times of the deal tracker's reads, counters that are hints, claims of killed runs, which expire, and groups
    // whose polls end later or earlier.
    .filter(line => !/ (source|tally|reading|group) \[/.test(line) || / group \[.*sequence/.test(line))
    .sort()
