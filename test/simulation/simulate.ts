import type { Log } from '@w3filecoin/runtime'
import {
  type CallFault,
  Choices,
  DeterministicWorld,
  type Faults,
  NONE,
  randomFaults,
} from '@w3filecoin/testing/deterministic'
import { Addresses } from './addresses.ts'
import { type Acknowledged, Agents } from './agents.ts'
import { type Clocks, CORRECT_CLOCKS, clockOf, randomClocks } from './clocks.ts'
import { CONTENT_FAULTS, createContentStore } from './content-store.ts'
import { DealWatch } from './deal-watch.ts'
import { type Element, randomElements } from './elements.ts'
import {
  checkDeliveries,
  checkEnd,
  checkWaits,
  Findings,
  type Invariant,
  isWaiting,
  type Violation,
  Watch,
} from './invariants.ts'
import { Liar } from './liar.ts'
import { BLINDNESS, CHAIN_FAULTS, type ChainFault, Market, type Moods } from './market.ts'
import { Operator } from './operator.ts'
import { OrderWatch } from './order-watch.ts'
import { type Ordering, randomOrdering } from './ordering.ts'
import { Providers } from './providers.ts'
import { type Offer, randomScenario, type Scenario, signers } from './scenario.ts'
import { createSystem, SETTINGS, type System } from './services.ts'
import { restore, type Snapshot } from './snapshot.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** Maximum simulated time until everything has ended, in milliseconds. */
const LONGEST = 90 * DAY

/**
 * Maximum simulated time from the last disturbance to the end, in milliseconds. An aggregate that providers abandon without a
 * word fails after five days, its pieces need up to two for another aggregate and deal, and that one may fail as well. Of 100
 * seeds without wrong clocks the longest took 6.6 days, and seed 57 takes 11. Where a provider takes one order after the other, the
 * time of its queue is added.
 */
const LONGEST_END = 14 * DAY

/** When a world begins, if it does not resume another one. */
const SCENARIO_START = Date.UTC(2026, 0, 1)

export interface Report {
  seed: number
  elements: readonly Element[]
  offers: number
  /** Number of calls that functions made. */
  calls: number
  /** Simulated time until the end, in milliseconds. */
  took: number
  injected: Map<string, number>
  /** Number of checks by invariant. */
  checked: Map<Invariant, number>
  violations: Violation[]
  /** What each function touched, e.g. `aggregator sweep` → `tables piece write`. */
  touched: Map<string, ReadonlySet<string>>
  /** A hash of everything that happened. */
  trace: string
}

/** The events and faults of one run. */
export interface Course {
  scenario: Scenario
  elements: ReadonlySet<Element>
  clocks: Clocks
  /** The faults of calls until the world heals. */
  faults: Faults
  /** When faults end, in milliseconds from the start. */
  healsAt: number
  /** Maximum delay of an index, in milliseconds. */
  lag: number
  /** Probability that a message is delivered twice. */
  duplicates: number
  /** When a queue loses all its messages, in milliseconds from the start. */
  losses: readonly number[]
  /** When a service is unreachable, in milliseconds from the start, and whether it refuses connections or does not answer. */
  outages: readonly { service: string; from: number; to: number; hangs: boolean }[]
  /** Probability that content is damaged, or that reading it hangs. */
  contentFaults: number
  /** Probability that the chain's file is faulty. */
  chainFaults: number
  /** Probability that an address for receipts answers with an error. */
  addressFaults: number
  /** When every read of the chain has the same fault, in milliseconds from the start. It may last longer than `healsAt`. */
  blindness?: { from: number; to: number; kind: (typeof BLINDNESS)[number] }
  market: Moods
  /** How storefronts handle missing content. Default: `wait`. */
  missingContent?: 'wait' | 'refuse'
  /** The state that the services continue from. Offers that the scenario made before that time were acknowledged. */
  resume?: Snapshot
  /** The targets of the dealer, and the behaviour of their providers. Absent: the dealer has none. */
  ordering?: Ordering
  /** Schedules more than the offers of the scenario, when the services run. */
  visit?: (world: DeterministicWorld, system: System) => void
}

/** The kinds of faults of a call, with the maximum probability of each. */
const RATES: Record<CallFault | 'slow', number> = {
  refuse: 0.03,
  fail: 0.03,
  repeat: 0.02,
  part: 0.02,
  stall: 0.01,
  killBefore: 0.01,
  killAfter: 0.01,
  slow: 0.2,
}

/** Returns the course of a seed. Seeds differ in their elements, and in the kinds and the number of faults. */
export const randomCourse = (choices: Choices, only?: Element): Course => {
  const elements = randomElements(choices, only)
  const scenario = randomScenario(choices, elements)
  const severity = choices.one([0.1, 0.5, 1, 2])
  const rates = Object.fromEntries(
    Object.entries(RATES).map(([kind, most]) => [
      kind,
      choices.chance(0.6) ? choices.fraction() * most * severity : 0,
    ]),
  )
  const healsAt = choices.between(HOUR, 4 * DAY)
  const course: Course = {
    scenario,
    elements,
    clocks: CORRECT_CLOCKS,
    faults: randomFaults(choices, rates),
    healsAt,
    lag: choices.one([0, 1000, 2 * MINUTE, 3 * HOUR]),
    duplicates: choices.one([0, 0.05, 0.3]),
    losses: Array.from({ length: choices.one([0, 0, 1, 4]) }, () => choices.between(0, healsAt)),
    outages: Array.from({ length: choices.one([0, 0, 1, 3]) }, () => {
      const from = choices.between(0, healsAt)
      const service = choices.one(serviceNames(scenario, elements))
      const to = Math.min(from + choices.between(HOUR, 30 * HOUR), healsAt)
      return { service, from, to, hangs: choices.chance(0.5) }
    }),
    contentFaults: choices.one([0, 0, 0.3]),
    chainFaults: choices.one([0, 0.2, 0.6]),
    addressFaults: 0.4,
    market: {
      refusals: choices.one([0, 0.1, 0.4]),
      silence: choices.one([0, 0.1, 0.3]),
      contradictions: choices.one([0, 0.5]),
      changeOfMind: [0, 8 * DAY],
      decision: [HOUR, 30 * HOUR],
      labels: choices.chance(0.5),
      numbering: elements.has('late-market-ids') ? [HOUR, 3 * DAY] : [0, 0],
    },
  }
  if (elements.has('slow-content'))
    return {
      ...course,
      faults: NONE,
      losses: [],
      outages: [],
      contentFaults: 0,
      addressFaults: 0,
      duplicates: 0,
    }
  if (elements.has('clocks')) {
    const owners = [...serviceNames(scenario, elements), MARKET]
    course.clocks = randomClocks(choices, owners, [...scenario.offers.map(({ at }) => at), HOUR])
  }
  if (elements.has('blind-chain')) {
    const from = choices.between(0, 3 * DAY)
    const to = from + SETTINGS.dealWaitMs + choices.between(DAY / 2, 4 * DAY)
    course.blindness = { from, to, kind: choices.one(BLINDNESS) }
  }
  return elements.has('orders') ? withOrders(choices, course) : course
}

/** Returns a course on which the dealer orders copies. In some, deals are made as well, by the offer documents. */
const withOrders = (choices: Choices, course: Course): Course => {
  const { healsAt, market } = course
  const from = choices.between(0, healsAt)
  const to = from + choices.between(HOUR, 5 * DAY)
  const blindness = choices.chance(0.3) ? { from, to, kind: choices.one(BLINDNESS) } : undefined
  return {
    ...course,
    ...(course.blindness === undefined && blindness && { blindness }),
    market: { ...market, isClosed: choices.chance(0.7) },
    ordering: randomOrdering(choices, healsAt),
  }
}

/** The owner of the clock of the chain, in {@link Clocks}. */
const MARKET = 'market'

const aggregatorNames = ({ storefronts }: Scenario, elements: ReadonlySet<Element>): string[] => [
  // Some lies need a second aggregator, which the dealer knows.
  ...new Set(['aggregator', ...storefronts.values(), ...(elements.has('lies') ? ['another'] : [])]),
]

const serviceNames = (scenario: Scenario, elements: ReadonlySet<Element>): string[] => [
  ...scenario.storefronts.keys(),
  ...aggregatorNames(scenario, elements),
  'dealer',
  'tracker',
]

/** @param only the only element that the seed has; default: the elements that the seed chooses */
export const simulateSeed = async (seed: number, log?: Log, only?: Element): Promise<Report> => {
  const choices = new Choices(seed)
  const { report } = await simulate(seed, choices, randomCourse(choices, only), log)
  return report
}

/** Runs a course until everything has ended, then checks the invariants. */
export const simulate = async (
  seed: number,
  choices: Choices,
  course: Course,
  log: Log = () => {},
): Promise<{ report: Report; system: System }> => {
  const world = new DeterministicWorld({ choices, ...(course.resume && { start: course.resume.at }) })
  const { timeout } = AbortSignal
  AbortSignal.timeout = world.timeout
  try {
    return await run(seed, world, course, log)
  } finally {
    AbortSignal.timeout = timeout
  }
}

const run = async (seed: number, world: DeterministicWorld, course: Course, log: Log) => {
  const { choices } = world
  const { scenario, elements, clocks, faults, healsAt, lag, duplicates, losses, outages, ordering } = course
  const start = world.now()
  const elapsed = course.resume ? start - SCENARIO_START : 0
  const healed = () => world.now() - start >= healsAt
  const away = (service: string) => {
    const at = world.now() - start
    const outage = outages.find(({ service: who, from, to }) => who === service && from <= at && at < to)
    return outage && (outage.hangs ? 'hangs' : 'refuses')
  }
  let restoring = true
  const defects: unknown[] = []
  /** Runs a check. Its errors must not look like those of a call. */
  const observe = (check: () => void) => {
    try {
      check()
    } catch (cause) {
      defects.push(cause)
    }
  }
  world.faults = faults

  const market: Market = new Market({
    world,
    choices,
    now: clockOf(world.now, start, clocks, MARKET),
    faulty: scenario.faulty,
    moods: course.market,
    healed,
    report: message => void system.services.get('dealer')?.queues.report?.deliver(message as never),
    chainChanged: () => system.chainChanged(),
  })
  const addresses = new Addresses(world, () => !healed() && choices.chance(course.addressFaults))
  const findings = new Findings()
  const watch = new Watch(world.now, findings)
  const findFault = (): ChainFault | undefined => {
    const fault = chainFault(course, world.now() - start, healed(), choices)
    if (fault) world.count(`chain ${fault.kind}`)
    return fault?.at === undefined ? fault : { ...fault, at: start + fault.at }
  }
  const orders =
    ordering && new OrderWatch({ findings, now: world.now, system: () => system, market, ordering, lag })
  const providers =
    ordering &&
    new Providers({
      world,
      scenario,
      ordering,
      start,
      now: clockOf(world.now, start, clocks, MARKET),
      fault: findFault,
      chainChanged: () => system.chainChanged(),
      fetch: (url, init) => system.fetch(url, init),
      onRequest: order => observe(() => orders?.requested(order)),
      onFetched: (order, status, location) => observe(() => orders?.fetched(order, status, location)),
    })
  const { dealWaitMs } = ordering ?? SETTINGS
  const deals = new DealWatch({ now: world.now, market, providers, dealWaitMs })
  const system: System = createSystem({
    world,
    signers,
    storefronts: scenario.storefronts,
    aggregators: aggregatorNames(scenario, elements),
    clockOf: service => clockOf(world.now, start, clocks, service),
    content: createContentStore(world, scenario, start, () =>
      !healed() && choices.chance(course.contentFaults) ? choices.one(CONTENT_FAULTS) : undefined,
    ),
    market,
    providers,
    policy: ordering?.policy,
    dealWaitMs,
    addresses,
    missingContent: course.missingContent ?? 'wait',
    minPaddedBytes: scenario.minPaddedBytes,
    chain: () => market.file(findFault()),
    onWrite: (service, table, item) =>
      observe(() => {
        if (restoring) return
        watch.wrote(system, service, table, item)
        deals.wrote(service, table, item)
        orders?.wrote(service, table, item)
        if (elements.has('lies') && scenario.storefronts.has(service) && table === 'aggregate')
          liar.wrote(service, item)
      }),
    onAnswer: (service, receipt) => observe(() => watch.answered(service, receipt)),
    away,
    lag,
    duplicates,
    log: (level, event, fields) => log(level, event, { at: new Date(world.now()).toISOString(), ...fields }),
  })
  const liar = new Liar(world, system, scenario.storefronts)
  const agents = new Agents(world, system, start - elapsed)
  if (ordering) {
    const operator = new Operator(world, system, market, () => providers!.targets)
    Object.assign(orders!, { providers, operator })
    operator.schedule(start, ordering, healsAt)
  }

  if (course.resume) restore(course.resume, system, market)
  else
    for (const { at, space, provider } of scenario.spaces) {
      const write = () => {
        for (const name of scenario.storefronts.keys())
          system.services.get(name)?.tables.space?.seed({ space, provider, revision: 1 } as never)
      }
      if (at === 0) write()
      else world.timeline.at(start + at, write)
    }
  if (healsAt !== Infinity)
    world.timeline.at(start + healsAt, () => {
      world.faults = NONE
    })
  const queues = [...system.services.values()].flatMap(({ queues }) => Object.values(queues))
  for (const at of losses)
    world.timeline.at(start + at, () => {
      world.count('queue lost')
      choices.one(queues).lose()
    })
  watch.resume(system)
  restoring = false

  const acknowledged: Acknowledged[] = []
  let visitors = 0
  const schedule = (at: number, visit: () => Promise<unknown>) => {
    visitors += 1
    world.timeline.at(start + at - elapsed, () => {
      void visit().then(() => {
        visitors -= 1
      })
    })
  }
  for (const offer of scenario.offers)
    if (offer.at < elapsed) acknowledged.push(await agents.recall(offer))
    else schedule(offer.at, async () => acknowledged.push(await agents.offer(offer)))
  const { flood } = scenario
  if (flood) schedule(flood.at, () => agents.flood(flood))
  for (const { to } of clocks.jumps)
    schedule(Math.max(to, healsAt) + DAY, async () => checkWaits(findings, world.now, system))

  course.visit?.(world, system)

  const done = () =>
    visitors === 0 && world.running === 0 && (healed() || healsAt === Infinity) && hasEnded(system, orders)
  const ended = await world.timeline.run(done, start + LONGEST)
  if (defects.length > 0) throw defects[0]
  const took = world.now() - start
  const lastEvent = Math.max(lastEventOf(course), (providers?.lastEnd ?? 0) - start)
  // Records of version 0.1.0 do not name their space, so it sees them only after another offer.
  if (!course.resume) await askFirstAgent(findings, world, agents, providers, acknowledged)
  if (healsAt !== Infinity)
    findings.check(
      'everything ends soon after the last disturbance',
      took <= lastEvent + LONGEST_END + (providers?.longestQueue ?? 0),
      () => `It took ${Math.round((took - lastEvent) / DAY)} days`,
    )
  await checkEnd(findings, watch, system, scenario, acknowledged)
  checkDeliveries(findings, watch, system, addresses, acknowledged)
  await deals.checkEnd(findings, system)
  orders?.checkEnd()
  findings.check(
    'an acknowledged offer ends in a final receipt',
    ended,
    () =>
      `After ${LONGEST / DAY} days: ${[...unfinished(system, orders)].join(', ') || `${visitors} offers not taken`}`,
  )
  const report: Report = {
    seed,
    elements: [...elements],
    offers: scenario.offers.length,
    calls: world.calls,
    took,
    injected: world.injected,
    checked: findings.checked,
    violations: findings.violations,
    touched: touchedBy(system),
    trace: world.trace(),
  }
  return { report, system }
}

/** Returns when the last event of a course happens that may delay its end, in milliseconds from the start. */
const lastEventOf = ({ scenario, healsAt, outages, clocks, blindness, market }: Course): number =>
  Math.max(
    healsAt === Infinity ? 0 : healsAt,
    ...scenario.offers.flatMap(({ at, uploadedAt = 0, slowUntil = 0 }) => [at, uploadedAt, slowUntil]),
    ...outages.map(({ to }) => to),
    ...clocks.jumps.map(({ to }) => to),
    blindness?.to ?? 0,
  ) + market.numbering[1]

/** Returns the fault of a read of the chain, at a time in milliseconds from the start. */
const chainFault = (
  { chainFaults, blindness }: Course,
  at: number,
  healed: boolean,
  choices: Choices,
): ChainFault | undefined => {
  if (blindness && blindness.from <= at && at < blindness.to)
    return { kind: blindness.kind, at: blindness.from }
  return !healed && choices.chance(chainFaults) ? { kind: choices.one(CHAIN_FAULTS) } : undefined
}

/** The agent of the first offer asks about it at the end. */
const askFirstAgent = async (
  findings: Findings,
  { timeline }: DeterministicWorld,
  agents: Agents,
  providers: Providers | undefined,
  acknowledged: readonly Acknowledged[],
): Promise<void> => {
  const [first] = acknowledged
  if (first === undefined) return
  const { offer } = first
  // Another agent may have started a later attempt of the same workflow.
  const accepts = new Set(
    acknowledged.filter(other => isSameWorkflow(other.offer, offer)).flatMap(({ accepts }) => accepts),
  )
  let answer: Awaited<ReturnType<Agents['ask']>> | undefined
  void agents.ask(offer).then(found => {
    answer = found
  })
  await timeline.run(() => answer !== undefined, timeline.now + DAY)
  findings.check(
    'an agent sees the workflow of its offer',
    answer?.accepts.some(accept => accepts.has(accept)) === true,
    () =>
      `${offer.piece} of ${offer.space.did()}: ${answer?.accepts ?? 'no answer'}, without ${[...accepts]}`,
  )
  // The market reports a deal without its id as a provider without a place.
  for (const { key, aggregate } of answer?.places.filter(({ type }) => type !== 'provider') ?? [])
    findings.check(
      'a place in an answer is on chain',
      providers?.find(key, `${aggregate}`) !== undefined,
      () => `filecoin/info names the place ${key} of ${aggregate}`,
    )
}

const isSameWorkflow = (a: Offer, b: Offer): boolean =>
  a.storefront === b.storefront &&
  a.nonce === b.nonce &&
  `${a.piece}` === `${b.piece}` &&
  `${a.content.content}` === `${b.content.content}`

const touchedBy = ({ services }: System): Map<string, ReadonlySet<string>> => {
  const all = new Map<string, Set<string>>()
  for (const { resources, grants } of services.values())
    for (const [name, touched] of grants.touched) {
      const key = `${resources.service} ${name}`
      all.set(key, new Set([...(all.get(key) ?? []), ...touched]))
    }
  return all
}

/** Describes everything that keeps a run from its end. */
function* unfinished({ services }: System, orders: OrderWatch | undefined): Generator<string> {
  for (const service of services.values()) {
    for (const [queue, { size }] of Object.entries(service.queues))
      if (size > 0) yield `${size} messages in ${service.name}.${queue}`
    for (const [table, { items }] of Object.entries(service.tables))
      for (const item of items.values())
        if (isWaiting(service, table, item)) yield `${service.name}.${table} ${item.id} at ${item.stage}`
  }
  if (orders) yield* orders.unfinished()
}

const hasEnded = (system: System, orders: OrderWatch | undefined): boolean =>
  unfinished(system, orders).next().done === true
