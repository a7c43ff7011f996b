import type { Receipt, Signer } from '@ucanto/interface'
import { encodeMessage, type Log, principal, readReceipt } from '@w3filecoin/runtime'
import {
  type CallFault,
  Choices,
  DeterministicWorld,
  type Faults,
  NONE,
  randomFaults,
} from '@w3filecoin/testing/deterministic'
import {
  checkEnd,
  Findings,
  type Invariant,
  isFinished,
  roleOf,
  type Violation,
  Watch,
} from './invariants.ts'
import { CHAIN_FAULTS, Market } from './market.ts'
import { invocationOf, type Offer, otherThan, randomScenario, type Scenario, signers } from './scenario.ts'
import { createSystem, type Simulated, type System } from './services.ts'
import { restore, type Snapshot } from './snapshot.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** Maximum simulated time until everything has ended, in milliseconds. */
const LONGEST = 90 * DAY

/** When a world begins, if it does not resume another one. */
const SCENARIO_START = Date.UTC(2026, 0, 1)

export interface Report {
  seed: number
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
  /** Probabilities that the chain's file is faulty, that providers refuse a deal, and that they do not answer. */
  chainFaults: number
  refusals: number
  silence: number
  /** Probability that they make the deal later in spite of that. */
  contradictions: number
  /** Minimum and maximum time until they decide, in milliseconds. */
  decision: readonly [number, number]
  /** How storefronts handle missing content. Default: `wait`. */
  missingContent?: 'wait' | 'refuse'
  /** The state that the services continue from. Offers that the scenario made before that time were acknowledged. */
  resume?: Snapshot
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

/** Returns the course of a seed. Seeds differ in the kinds and the number of faults. */
export const randomCourse = (choices: Choices): Course => {
  const scenario = randomScenario(choices)
  const severity = choices.one([0.1, 0.5, 1, 2])
  const rates = Object.fromEntries(
    Object.entries(RATES).map(([kind, most]) => [
      kind,
      choices.chance(0.6) ? choices.fraction() * most * severity : 0,
    ]),
  )
  const healsAt = choices.between(HOUR, 4 * DAY)
  return {
    scenario,
    faults: randomFaults(choices, rates),
    healsAt,
    lag: choices.one([0, 1000, 2 * MINUTE, 3 * HOUR]),
    duplicates: choices.one([0, 0.05, 0.3]),
    losses: Array.from({ length: choices.one([0, 0, 1, 4]) }, () => choices.between(0, healsAt)),
    outages: Array.from({ length: choices.one([0, 0, 1, 3]) }, () => {
      const from = choices.between(0, healsAt)
      const service = choices.one([...scenario.storefronts, 'aggregator', 'dealer', 'tracker'])
      const to = Math.min(from + choices.between(HOUR, 30 * HOUR), healsAt)
      return { service, from, to, hangs: choices.chance(0.5) }
    }),
    contentFaults: choices.one([0, 0, 0.3]),
    chainFaults: choices.one([0, 0.2, 0.6]),
    refusals: choices.one([0, 0.1, 0.4]),
    silence: choices.one([0, 0.1, 0.3]),
    contradictions: choices.one([0, 0.5]),
    decision: [HOUR, 30 * HOUR],
  }
}

export const simulateSeed = async (seed: number, log?: Log): Promise<Report> => {
  const choices = new Choices(seed)
  const { report } = await simulate(seed, choices, randomCourse(choices), log)
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
  const { scenario, faults, healsAt, lag, duplicates, losses, outages, chainFaults } = course
  const start = world.now()
  const healed = () => world.now() - start >= healsAt
  const away = (service: string) => {
    const at = world.now() - start
    const outage = outages.find(({ service: who, from, to }) => who === service && from <= at && at < to)
    return outage && (outage.hangs ? 'hangs' : 'refuses')
  }
  let restoring = true
  const findings = new Findings()
  const watch = new Watch(findings)
  world.faults = faults

  const market: Market = new Market({
    world,
    choices,
    faulty: scenario.faulty,
    moods: course,
    healed,
    report: message => void system.services.get('dealer')?.queues.report?.deliver(message as never),
    chainChanged: () => system.chainChanged(),
  })
  const chain = (): string => {
    const wrong = !healed() && choices.chance(chainFaults) ? choices.one(CHAIN_FAULTS) : undefined
    if (wrong) world.count(`chain ${wrong}`)
    return market.file(wrong)
  }
  const system = createSystem({
    world,
    signers,
    storefronts: scenario.storefronts,
    content: contentOf(world, scenario, start, () =>
      !healed() && choices.chance(course.contentFaults) ? choices.one(CONTENT_FAULTS) : undefined,
    ),
    market,
    missingContent: course.missingContent ?? 'wait',
    chain,
    onWrite: (service, table, item) => {
      if (!restoring) watch.wrote(system, service, table, item)
    },
    onAnswer: (service, receipt) => watch.answered(service, receipt),
    away,
    lag,
    duplicates,
    log: (level, event, fields) => log(level, event, { at: new Date(world.now()).toISOString(), ...fields }),
  })
  for (const name of course.resume ? [] : scenario.storefronts)
    for (const [space, provider] of scenario.spaces)
      system.services.get(name)?.tables.space?.seed({ space, provider, revision: 1 } as never)

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

  const acknowledged: Offer[] = []
  const elapsed = course.resume ? start - SCENARIO_START : 0
  if (course.resume) restore(course.resume, system, market)
  watch.resume(system)
  restoring = false
  acknowledged.push(...scenario.offers.filter(({ at }) => at < elapsed))
  const ahead = scenario.offers.filter(({ at }) => at >= elapsed)
  let agents = ahead.length
  const ask = asker(system)
  for (const offer of ahead)
    world.timeline.at(start + offer.at - elapsed, () => {
      void offerUntilTaken(world, ask, offer).then(() => {
        acknowledged.push(offer)
        agents -= 1
      })
    })

  course.visit?.(world, system)

  const done = () =>
    agents === 0 && world.running === 0 && (healed() || healsAt === Infinity) && hasEnded(system)
  const ended = await world.timeline.run(done, start + LONGEST)
  await checkEnd(findings, watch, system, acknowledged)
  findings.check(
    'an acknowledged offer ends in a final receipt',
    ended,
    () => `After ${LONGEST / DAY} days: ${unfinished(system).join(', ') || `${agents} offers not taken`}`,
  )
  const report = {
    seed,
    offers: scenario.offers.length,
    calls: world.calls,
    took: world.now() - start,
    injected: world.injected,
    ...findings,
    touched: touchedBy(system),
    trace: world.trace(),
  }
  return { report, system }
}

const touchedBy = ({ services }: System): Map<string, ReadonlySet<string>> => {
  const all = new Map<string, Set<string>>()
  for (const { resources, grants } of services.values())
    for (const [name, touched] of grants.touched) {
      const key = `${resources.service} ${name}`
      all.set(key, new Set([...(all.get(key) ?? []), ...touched]))
    }
  return all
}

const CONTENT_FAULTS = ['damaged', 'hangs'] as const

const contentOf = (
  world: DeterministicWorld,
  { offers }: Scenario,
  start: number,
  fault: () => (typeof CONTENT_FAULTS)[number] | undefined,
) => {
  const find = (cid: string) =>
    offers.find(
      ({ content, uploadedAt }) =>
        `${content.content}` === cid && uploadedAt !== undefined && world.now() >= start + uploadedAt,
    )
  const call = <T>(method: string, run: () => T) =>
    world.call({ port: 'content', name: 'content', method }, { run })
  return {
    has: (cid: string) => call('has', () => find(cid) !== undefined),
    open: async (cid: string) => {
      const found = await call('open', () => find(cid))
      if (found === undefined) return undefined
      const wrong = found.hangs ? 'hangs' : fault()
      if (wrong) world.count(`content ${wrong}`)
      const whole = found.content.bytes
      const bytes =
        wrong === 'damaged' ? whole.subarray(0, world.choices.between(1, whole.byteLength - 1)) : whole
      return (async function* () {
        for (let at = 0; at < bytes.byteLength; at += 4096) {
          yield await call('read', () => bytes.subarray(at, at + 4096))
          if (wrong === 'hangs') await new Promise(() => {})
        }
      })()
    },
  }
}

type Ask = (offer: Offer, by?: Signer) => Promise<Receipt | undefined>

/** Returns the function by which agents call storefronts; its result is `undefined` if the call fails. */
const asker =
  ({ services, fetch }: System): Ask =>
  async (offer, by) => {
    const { url, id } = services.get(offer.storefront) as Simulated
    const task = await (await invocationOf(offer, principal(id.did()) as Signer, by)).buildIPLDView()
    try {
      const response = await fetch(`${url}/`, {
        method: 'POST',
        headers: { 'content-type': 'application/vnd.ipld.car' },
        body: (await encodeMessage({ invocations: [task as never] })) as never,
      })
      return response.ok
        ? readReceipt(`${task.cid}`, new Uint8Array(await response.arrayBuffer()))
        : undefined
    } catch {
      return undefined
    }
  }

/** Repeats an offer until it is accepted. Some offers are then made again by another agent. */
const offerUntilTaken = async (world: DeterministicWorld, ask: Ask, offer: Offer): Promise<void> => {
  const pause = () =>
    new Promise<void>(resolve => world.timeline.after(world.choices.between(MINUTE, 20 * MINUTE), resolve))
  while (!(await ask(offer))?.out.ok) await pause()
  if (!offer.again) return
  await pause()
  while (!(await ask(offer, otherThan(offer.agent)))?.out.ok) await pause()
}

const unfinished = ({ services }: System): string[] =>
  [...services.values()].flatMap(({ name, tables, queues }) => [
    ...Object.entries(tables).flatMap(([table, { items }]) =>
      table === 'group'
        ? []
        : [...items.values()]
            .filter(item => !isFinished(roleOf(name), table, item))
            .map(({ id, stage }) => `${name}.${table} ${id} at ${stage}`),
    ),
    ...Object.entries(queues).flatMap(([queue, { size }]) =>
      size > 0 ? [`${size} messages in ${name}.${queue}`] : [],
    ),
  ])

const hasEnded = (system: System): boolean => {
  const pending = system.services.get('aggregator')?.tables.pending?.items.size ?? 0
  return pending === 0 && unfinished(system).length === 0
}
