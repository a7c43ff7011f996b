import type { Receipt } from '@ucanto/interface'
import { type CallFault, Choices, faultAt, NONE } from '@w3filecoin/testing/deterministic'
import { CORRECT_CLOCKS } from './clocks.ts'
import type { Fate } from './ordering.ts'
import { receiptsOf } from './receipts.ts'
import { type Offer, plannedScenario, plannedTwins } from './scenario.ts'
import { SETTINGS, type Simulated, type System } from './services.ts'
import { type Course, type Report, simulate } from './simulate.ts'

/** At every call, its function is killed once before the call takes effect, and once after. */
export const CRASHES = ['killBefore', 'killAfter'] as const satisfies CallFault[]
export type Crash = (typeof CRASHES)[number]

const SEED = 1
const HOUR = 3_600_000
const DAY = 24 * HOUR

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

/**
 * The life of orders, on a stage without deal making: the dealer has no target at first. Copies become live, one after the other, are
 * lost, end, and are renewed. One target refuses all orders, another never makes a copy, and a piece has wrong bytes. What a provider
 * does depends on it and on the aggregate only. More than the longest delay after a crash is between two events, so that a crash
 * does not change their order.
 */
export const plannedOrders = (): Course => {
  const planned = plannedCourse()
  const [first, , faulty, alone] = planned.scenario.offers as [Offer, Offer, Offer, Offer]
  return {
    ...planned,
    scenario: { ...planned.scenario, offers: [first, faulty, alone] },
    market: { ...planned.market, isClosed: true },
    ordering: {
      policy: {
        places: ['market', 'sector', 'pdp'],
        copies: 2,
        minLive: 1,
        distinct: 'provider',
        attempts: 3,
        renewBeforeMs: 2 * DAY,
        giveUp: 'operator',
      },
      providers: Object.keys(FATES).map(name => ({
        name,
        place: name.startsWith('pdp') ? 'pdp' : 'sector',
        org: name,
      })),
      maxInFlight: 100,
      deadlineMs: 2 * DAY,
      dealWaitMs: 5 * DAY,
      fateOf: ({ name }, _, earlier) => FATES[name]!(earlier === 0),
      finalityMs: HOUR,
      targetsFrom: 8 * HOUR,
      withdrawn: [],
      closed: [],
      acts: [],
    },
  }
}

/** The fates of orders by provider: of the first one of an aggregate, and of others. */
const FATES: Record<string, (isFirst: boolean) => Fate> = {
  f0101: isFirst => ({ sealsAfterMs: 3 * HOUR, ...(isFirst && { losesAfterMs: 4 * DAY }) }),
  f0102: () => ({ refuses: 'target' }),
  'pdp:3': isFirst => ({ sealsAfterMs: 28 * HOUR, ...(isFirst && { lastsMs: 6 * DAY }) }),
  f0104: isFirst => (isFirst ? {} : { sealsAfterMs: 30 * HOUR }),
  'pdp:5': () => ({ sealsAfterMs: 30 * HOUR }),
}

/** The journeys that are run with a crash at each of their calls. */
export const JOURNEYS = {
  offers: (): Course => {
    const planned = plannedCourse()
    // Labels distinguish the deals of equal aggregates, whichever is made first.
    return { ...planned, scenario: plannedTwins(), market: { ...planned.market, labels: true } }
  },
  orders: plannedOrders,
}
export type JourneyName = keyof typeof JOURNEYS

export interface Journey {
  name: JourneyName
  report: Report
  /** The state at the end, without times: every receipt, and the stage of every record. */
  end: string[]
}

/**
 * Runs a journey, without a crash or with one at a call: that of offers, with an equal aggregate of another aggregator, or that of
 * orders.
 */
export const journey = async (name: JourneyName, crash?: { at: number; how: Crash }): Promise<Journey> => {
  const { report, system } = await simulate(SEED, new Choices(SEED), {
    ...JOURNEYS[name](),
    ...(crash && { faults: faultAt(crash.at, crash.how) }),
  })
  return { name, report, end: endState(name, system) }
}

/** Maximum delay after a crash, in milliseconds: the interrupted step waits for its next check, and a later step may too. */
const DELAY: Record<JourneyName, number> = {
  offers: 2 * SETTINGS.timing.pollMs,
  // A live copy, and a payload, are checked once in a day.
  orders: 2 * DAY,
}

/** Returns the differences at the end: missing lines (`-`), extra lines (`+`), and a delay that is too long. */
export const difference = (undisturbed: Journey, { report, end }: Journey): string[] => {
  const [wanted, found] = [new Set(undisturbed.end), new Set(end)]
  const late = report.took - undisturbed.report.took
  return [
    ...undisturbed.end.filter(line => !found.has(line)).map(line => `- ${line}`),
    ...end.filter(line => !wanted.has(line)).map(line => `+ ${line}`),
    ...(late > DELAY[undisturbed.name] ? [`+ ${Math.round(late / 3_600_000)} hours`] : []),
  ]
}

/** Matches a time in a key: 14 digits. */
const TIME = /\b\d{14}\b/g

const endState = (name: JourneyName, { services }: System): string[] =>
  [...services.values()]
    .flatMap(service => [
      ...[...receiptsOf(service)].map(
        ([task, receipt]: [string, Receipt]) => `${service.name} receipt of ${task}: ${describe(receipt)}`,
      ),
      ...Object.entries(service.tables).flatMap(([table, { items }]) =>
        [...items].map(([key, item]) => {
          const { stage, aggregateId, openRanges, sequence, history } = item
          const stages = (history as { stage: string }[] | undefined)?.map(({ stage }) => stage)
          return `${service.name} ${table} ${key.replaceAll(TIME, 'time')}: ${JSON.stringify({ stage, aggregateId, openRanges, sequence, stages })}`
        }),
      ),
      ...(name === 'orders' ? countLive(service) : []),
    ])
    .filter(line => !UNCERTAIN[name].test(line) || / group \[.*sequence/.test(line))
    .sort()

/**
 * The lines that may differ: the times of the deal tracker's reads, counters that are hints, claims of killed runs, which expire, parts of
 * uploads, and groups whose polls end later or earlier. A delay also decides which target is free when a copy is ordered: then the number
 * of live copies counts, and not where they are.
 */
const UNCERTAIN: Record<JourneyName, RegExp> = {
  offers: / (source|tally|reading|part|group) \[/,
  orders: / (source|tally|reading|part|group|order|credit|deal|target) \[/,
}

/** Returns a line for each offer of a dealer with orders: the number of its live copies. */
const countLive = ({ name, tables }: Simulated): string[] => {
  const live = new Map<string, number>()
  for (const { offer, stage } of tables.order?.items.values() ?? [])
    live.set(`${offer}`, (live.get(`${offer}`) ?? 0) + (stage === 'live' ? 1 : 0))
  return [...live].map(([offer, count]) => `${name} live copies of ${offer}: ${count}`)
}

/** Describes a receipt: by its CID, unless it names a place that an order made. */
const describe = ({ root, out }: Receipt): string =>
  JSON.stringify(out).includes('"epoch"') ? 'accepted' : `${root.cid}`
