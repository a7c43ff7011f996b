import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { bytesOf, someContent } from '@w3filecoin/testing'
import { Choices } from '@w3filecoin/testing/deterministic'
import { Agent, type Offer } from './agent.ts'
import { loseQueues, type StartOptions, SystemProcess, VICTIMS, type Victim } from './system-process.ts'

export interface CrashOptions {
  /** An empty directory: the system's data goes to `data` in it. */
  directory: string
  seed: number
  rounds: number
  onRound?: (round: Round) => void
}

/** What came of a round. */
export interface Round {
  number: number
  /** What the system had come to, and how many milliseconds after that and after its start it was killed. */
  milestone: Milestone
  after: number
  killedAt: number
  killed: string
  /** Messages that were in the queues when these were deleted before the round; `undefined` if they were not. */
  lostMessages: number | undefined
  /** Of all rounds so far. */
  acknowledged: number
  ended: number
}

export interface Report {
  rounds: Round[]
  offers: Offer[]
  /** How many receipts were served, and are the same in the end. */
  receipts: number
  /** Milliseconds from the last start until the last receipt was there. */
  recovery: number
  losses: string[]
}

/** What a system comes to after its start, in this order. */
const MILESTONES = ['started', 'ready', 'acknowledged', 'accepted'] as const
type Milestone = (typeof MILESTONES)[number]

/** What happens in a round, as the seed has it. */
interface Plan {
  milestone: Milestone
  after: number
  victim: Victim
  /** Milliseconds between the deaths of the engine and of the system. */
  pause: number
  loseQueues: boolean
  /** New content, with its size. */
  offers: { kind: Offer['kind']; size: number }[]
}

/** The most milliseconds from a milestone to the kill: an offer takes about ten seconds to its end. */
const LATEST: Record<Milestone, number> = { started: 3000, ready: 1500, acknowledged: 8000, accepted: 2000 }
/** How long to wait for a milestone, and in the end for another receipt, in milliseconds. */
const PATIENCE = 90_000
const PAUSE = 200

/** The rounds of a seed; those of neighbouring seeds have nothing in common. */
export const planOf = (seed: number, rounds: number): Plan[] => {
  const choices = new Choices(Buffer.from(bytesOf(`crash ${seed}`, 4)).readInt32LE())
  return Array.from({ length: rounds }, (_, n) => planRound(choices, n > 0))
}

const planRound = (choices: Choices, hasQueues: boolean): Plan => {
  // Half of all kills hit pieces on their way.
  const milestone = choices.one([...MILESTONES, 'acknowledged', 'acknowledged'] as const)
  const some = (kind: Offer['kind'], least: number, most: number) =>
    Array.from({ length: choices.between(least, most) }, () => ({
      kind,
      size: choices.between(100, 300_000),
    }))
  return {
    milestone,
    after: choices.between(0, LATEST[milestone]),
    victim: choices.one(VICTIMS),
    pause: choices.between(0, 100),
    loseQueues: hasQueues && choices.chance(0.4),
    offers: [...some('good', 3, 6), ...some('wrong', 0, 1), ...some('faulty', 0, 1)],
  }
}

/**
 * Kills the system again and again, each time on the data that the time before left behind, and offers new content
 * every time. Then it starts once more, and everything that was ever offered has to come to its end.
 */
export const crash = async ({ directory, seed, rounds, onRound }: CrashOptions): Promise<Report> => {
  const data = join(directory, 'data')
  const faulty = { directory: join(directory, 'faulty'), names: [] as string[] }
  await mkdir(data)
  await mkdir(faulty.directory)
  const agent = new Agent({ data })
  const done: Round[] = []

  for (const [index, plan] of planOf(seed, rounds).entries()) {
    const number = index + 1
    for (const [n, { kind, size }] of plan.offers.entries()) {
      const offer = await newOffer(kind, `${seed} ${number} ${n}`, size)
      agent.offers.push(offer)
      // Storage providers go by the piece, for which they need the file.
      if (kind !== 'faulty') continue
      const name = `${number}-${n}.bin`
      await writeFile(join(faulty.directory, name), offer.bytes)
      faulty.names.push(name)
    }
    const lostMessages = plan.loseQueues ? loseQueues(data) : undefined
    const { killedAt, killed } = await running({ data, faulty }, agent, async system => {
      await reach(plan.milestone, agent, system)
      await sleep(plan.after)
      return {
        killedAt: performance.now() - system.startedAt,
        killed: await system.kill(plan.victim, plan),
      }
    })
    done.push({
      number,
      milestone: plan.milestone,
      after: plan.after,
      killedAt,
      killed,
      lostMessages,
      acknowledged: agent.acknowledged.length,
      ended: agent.ended.length,
    })
    onRound?.(done.at(-1)!)
  }

  return running({ data, faulty }, agent, async system => {
    await system.ready
    await allEnded(agent)
    const recovery = performance.now() - system.startedAt
    const losses = await agent.losses()
    await system.stop()
    return { rounds: done, offers: agent.offers, receipts: agent.served, recovery, losses }
  })
}

/** Starts the system, and has the agent at work while something happens to it. It does not outlive that. */
const running = async <T>(
  options: StartOptions,
  agent: Agent,
  happens: (system: SystemProcess) => Promise<T>,
): Promise<T> => {
  const system = new SystemProcess(options)
  const stop = new AbortController()
  const acting = act(agent, system, stop.signal)
  try {
    return await happens(system)
  } finally {
    stop.abort()
    await system.end()
    await acting
  }
}

/** A wrong one has the piece of other content. */
const newOffer = async (kind: Offer['kind'], seed: string, size: number): Promise<Offer> => {
  const content = await someContent(seed, size)
  return kind === 'wrong'
    ? { ...content, kind, piece: (await someContent(`not ${seed}`, size)).piece }
    : { ...content, kind }
}

/** Has the agent go on as long as the system is there. */
const act = async (agent: Agent, system: SystemProcess, signal: AbortSignal): Promise<void> => {
  const up = await system.ready.then(
    () => true,
    () => false,
  )
  while (up && !signal.aborted) {
    await agent.turn()
    await sleep(PAUSE)
  }
}

/** Resolves when the system has come there, by what the agent saw of it. */
const reach = async (milestone: Milestone, agent: Agent, system: SystemProcess): Promise<void> => {
  if (milestone === 'started') return
  await system.ready
  if (milestone === 'ready') return
  const before = agent[milestone].length
  const until = performance.now() + PATIENCE
  while (agent[milestone].length === before) {
    if (performance.now() > until) throw new Error(`Nothing more was ${milestone} in ${PATIENCE / 1000} s`)
    await sleep(20)
  }
}

/** Resolves when all offers have come to their end, or no receipt came for too long. */
const allEnded = async (agent: Agent): Promise<void> => {
  let [served, since] = [-1, 0]
  while (agent.ended.length < agent.offers.length) {
    if (agent.served !== served) [served, since] = [agent.served, performance.now()]
    if (performance.now() - since > PATIENCE) return
    await sleep(PAUSE)
  }
}
