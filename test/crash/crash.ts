import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TableEngine } from '@w3filecoin/local/table-engine'
import { bytesOf, someContent } from '@w3filecoin/testing'
import { Choices } from '@w3filecoin/testing/deterministic'
import { Agent, type Offer } from './agent.ts'
import { deleteQueues, type StartOptions, SystemProcess, VICTIMS, type Victim } from './system-process.ts'

export interface CrashOptions {
  /** An empty directory. The system stores its data in `data` below it. */
  directory: string
  /** The engine for tables. */
  engine: TableEngine
  seed: number
  rounds: number
  onRound?: (round: Round) => void
}

/** The result of a round. */
export interface Round {
  number: number
  milestone: Milestone
  /** Milliseconds from the milestone, and from the start of the system, to the kill. */
  afterMs: number
  killedAtMs: number
  killed: string
  /** The number of messages in the queues that were deleted before the round; `undefined` if none were deleted. */
  lostMessages: number | undefined
  /** The number of offers so far that were acknowledged before the kill, and that had a final receipt. */
  acknowledged: number
  ended: number
}

export interface Report {
  rounds: Round[]
  offers: Offer[]
  /** The number of receipts that were served, and were served again unchanged at the end. */
  receipts: number
  /** Milliseconds from the last start to the last receipt. */
  recoveryMs: number
  losses: string[]
}

/** The kills so far prove nothing: they hit a system that had acknowledged too little. */
export class NothingProven extends Error {
  override readonly name = 'NothingProven'
}

/** The states of a system after its start, in order. */
const MILESTONES = ['started', 'ready', 'acknowledged', 'accepted'] as const
type Milestone = (typeof MILESTONES)[number]

/** A kill after `acknowledged` or `accepted` counts only if this round's agent got at least so many new acknowledgements. */
export const MIN_ACKNOWLEDGED = 3

/** The plan of a round; the seed determines it. */
export interface Plan {
  milestone: Milestone
  afterMs: number
  victim: Victim
  /** The time between the kills of the engine and of the system. */
  pauseMs: number
  deleteQueues: boolean
  /** New content, with its size in bytes. */
  offers: { kind: Offer['kind']; bytes: number }[]
}

/** The longest time from a milestone to the kill: an offer has its final receipt after about ten seconds. */
const MAX_AFTER_MS: Record<Milestone, number> = {
  started: 3000,
  ready: 1500,
  acknowledged: 8000,
  accepted: 2000,
}
/** The longest wait for a milestone, and at the end for another receipt. */
const MAX_WAIT_MS = 90_000
const PAUSE_MS = 200

/**
 * Returns the rounds of a seed. Neighbouring seeds have nothing in common. At least one round waits for acknowledged
 * offers: if the seed has no such round, the last one does.
 */
export const planRounds = (seed: number, rounds: number): Plan[] => {
  const choices = new Choices(Buffer.from(bytesOf(`crash ${seed}`, 4)).readInt32LE())
  const plans = Array.from({ length: rounds }, (_, n) => planRound(choices, n > 0))
  if (!plans.some(waitsForWork)) plans.at(-1)!.milestone = 'acknowledged'
  return plans
}

const waitsForWork = ({ milestone }: Plan): boolean =>
  milestone === 'acknowledged' || milestone === 'accepted'

const planRound = (choices: Choices, hasQueues: boolean): Plan => {
  // Half of all kills hit pieces that are being processed.
  const milestone = choices.one([...MILESTONES, 'acknowledged', 'acknowledged'] as const)
  const drawOffers = (kind: Offer['kind'], min: number, max: number) =>
    Array.from({ length: choices.between(min, max) }, () => ({ kind, bytes: choices.between(100, 300_000) }))
  return {
    milestone,
    afterMs: choices.between(0, MAX_AFTER_MS[milestone]),
    victim: choices.one(VICTIMS),
    pauseMs: choices.between(0, 100),
    deleteQueues: hasQueues && choices.chance(0.4),
    offers: [
      ...drawOffers('good', MIN_ACKNOWLEDGED, 6),
      ...drawOffers('wrong', 0, 1),
      ...drawOffers('faulty', 0, 1),
    ],
  }
}

/**
 * Kills the system in every round, restarts it on the same data, and offers new content each time. After the last round it
 * starts the system once more, and checks that every offer gets its final receipt.
 *
 * Throws `NothingProven` if the system acknowledges too few offers before the kills.
 */
export const crash = async ({ directory, engine, seed, rounds, onRound }: CrashOptions): Promise<Report> => {
  const data = join(directory, 'data')
  const faulty = { directory: join(directory, 'faulty'), names: [] as string[] }
  await mkdir(data)
  await mkdir(faulty.directory)
  const agent = new Agent({ data })
  const done: Round[] = []

  for (const [index, plan] of planRounds(seed, rounds).entries()) {
    const number = index + 1
    for (const [n, { kind, bytes }] of plan.offers.entries()) {
      const offer = await createOffer(kind, `${seed} ${number} ${n}`, bytes)
      agent.offers.push(offer)
      // The system computes the pieces that storage providers reject from files.
      if (kind !== 'faulty') continue
      const name = `${number}-${n}.bin`
      await writeFile(join(faulty.directory, name), offer.bytes)
      faulty.names.push(name)
    }
    const lostMessages = plan.deleteQueues ? deleteQueues(data) : undefined
    const { killedAtMs, killed } = await whileRunning({ data, engine, faulty }, agent, async system => {
      await reach(plan.milestone, agent, system)
      await sleep(plan.afterMs)
      return {
        killedAtMs: performance.now() - system.startedAt,
        killed: await system.kill(plan.victim, plan),
      }
    })
    done.push({
      number,
      milestone: plan.milestone,
      afterMs: plan.afterMs,
      killedAtMs,
      killed,
      lostMessages,
      acknowledged: agent.acknowledged.length,
      ended: agent.ended.length,
    })
    onRound?.(done.at(-1)!)
  }
  const exposed = agent.acknowledged.length
  if (exposed < MIN_ACKNOWLEDGED)
    throw new NothingProven(
      `Nothing was proven: ${exposed} offers were acknowledged before a kill, and ${MIN_ACKNOWLEDGED} are needed`,
    )

  return whileRunning({ data, engine, faulty }, agent, async system => {
    await system.ready
    await waitUntilEnded(agent)
    const recoveryMs = performance.now() - system.startedAt
    const losses = await agent.findLosses()
    await system.stop()
    return { rounds: done, offers: agent.offers, receipts: agent.served, recoveryMs, losses }
  })
}

/** Starts the system, runs the agent beside `run`, and ends the system when `run` returns or throws. */
const whileRunning = async <T>(
  options: StartOptions,
  agent: Agent,
  run: (system: SystemProcess) => Promise<T>,
): Promise<T> => {
  const system = new SystemProcess(options)
  const stop = new AbortController()
  const acting = act(agent, system, stop.signal)
  try {
    return await run(system)
  } finally {
    stop.abort()
    await system.end()
    await acting
  }
}

/** Creates an offer. A wrong offer has the piece of other content. */
const createOffer = async (kind: Offer['kind'], seed: string, bytes: number): Promise<Offer> => {
  const content = await someContent(seed, bytes)
  return kind === 'wrong'
    ? { ...content, kind, piece: (await someContent(`not ${seed}`, bytes)).piece }
    : { ...content, kind }
}

/** Runs the agent from the moment the system is ready until the signal. */
const act = async (agent: Agent, system: SystemProcess, signal: AbortSignal): Promise<void> => {
  const isReady = await system.ready.then(
    () => true,
    () => false,
  )
  while (isReady && !signal.aborted) {
    await agent.act()
    await sleep(PAUSE_MS)
  }
}

/** Resolves when the agent has seen the system reach the milestone; throws `NothingProven` if it does not in time. */
const reach = async (milestone: Milestone, agent: Agent, system: SystemProcess): Promise<void> => {
  if (milestone === 'started') return
  await system.ready
  if (milestone === 'ready') return
  await waitForMore('acknowledged', MIN_ACKNOWLEDGED, agent)
  if (milestone === 'accepted') await waitForMore('accepted', 1, agent)
}

/** Resolves when more offers are acknowledged or accepted than at the call; throws `NothingProven` after `maxWaitMs`. */
export const waitForMore = async (
  state: 'acknowledged' | 'accepted',
  count: number,
  agent: Pick<Agent, 'offers' | 'acknowledged' | 'accepted'>,
  maxWaitMs = MAX_WAIT_MS,
): Promise<void> => {
  const before = agent[state].length
  const until = performance.now() + maxWaitMs
  while (agent[state].length < before + count) {
    if (performance.now() > until) {
      const reason = agent.offers.find(({ accept }) => accept === undefined)?.lastError
      throw new NothingProven(
        `Nothing was proven: in ${maxWaitMs / 1000} s, ${agent[state].length - before} more offers were ${state}, and ${count} are needed before a kill${reason ? `. The last error of an offer: ${reason}` : ''}`,
      )
    }
    await sleep(20)
  }
}

/** Resolves when all offers have their final receipt, or when no receipt has arrived for too long. */
const waitUntilEnded = async (agent: Agent): Promise<void> => {
  let [served, since] = [-1, 0]
  while (agent.ended.length < agent.offers.length) {
    if (agent.served !== served) [served, since] = [agent.served, performance.now()]
    if (performance.now() - since > MAX_WAIT_MS) return
    await sleep(PAUSE_MS)
  }
}
