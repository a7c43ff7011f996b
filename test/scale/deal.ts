import type { CloudOptions, Runs } from '../aws/cloud.ts'
import type { PartitionLoad } from '../aws/dynamodb.ts'
import { CloudSystem, RESOURCES } from '../aws/system.ts'
import { createAggregated } from './hand-made.ts'
import { measureMemory } from './report.ts'

const HOUR = 3_600_000

/** The way of a deal from the chain to the receipts of its pieces, on the simulated AWS. Times are simulated, in milliseconds. */
export interface Deal {
  pieces: number
  /** Pieces whose receipt of `filecoin/accept` is stored. */
  receipts: number
  deadLetters: number
  throttled: number
  runs: ReadonlyMap<string, Runs>
  /** Since the deal was visible. */
  loads: ReadonlyMap<string, PartitionLoad>
  phases: Phase[]
  /** Seconds from the run that finds the deal to the last receipt, without the waits between polls. */
  seconds: number
  /** The least time that the writes take: the write units of the hottest partition key by its rate. */
  byWrites: Bound
}

interface Phase {
  name: string
  seconds: number
  /** Whether a service waits for the time of its next poll. */
  isPoll: boolean
}

interface Bound {
  seconds: number
  /** A partition key, or a function. */
  name: string
}

/** Lets the deal of one aggregate go live, and waits for the receipts of all of its pieces. */
export const liveDeal = async (pieces: number, options: CloudOptions = {}): Promise<Deal> => {
  using system = await CloudSystem.open({ makesDeals: false, ...options })
  const { cloud } = system
  const accepts = await createAggregated(cloud, pieces)
  await cloud.until(() => system.offered.length === 1, HOUR)
  // Until the dealer has answered, and nothing runs.
  await cloud.pass(60_000)
  cloud.runs.clear()
  cloud.dynamodb.count.throttled = 0
  cloud.dynamodb.loads = new Map()
  /** The last start of each function, and the first run that settles pieces. */
  const startedAt = new Map<string, number>()
  let settlesAt = 0
  cloud.onRun = name => {
    const { now } = cloud.timeline
    if (name === 'dealer/track') settlesAt = 0
    if (name === 'storefront/outcome' && settlesAt === 0) settlesAt = now
    startedAt.set(name, now)
  }
  const visibleAt = cloud.timeline.now
  system.makeDeals()
  await cloud.until(() => (system.stages().accepted ?? 0) === pieces, 3 * HOUR)
  const endedAt = cloud.timeline.now
  const endOf = (name: string): number => cloud.runs.get(name)?.lastAt ?? 0
  const phases = phasesOf([
    { name: 'visible at the chain source', endsAt: visibleAt },
    {
      name: 'the deal tracker reads the source',
      endsAt: startedAt.get('deal-tracker/sync') ?? 0,
      isPoll: true,
    },
    { name: 'the deal tracker records the deal', endsAt: endOf('deal-tracker/update') },
    { name: 'the dealer asks the deal tracker', endsAt: startedAt.get('dealer/track') ?? 0, isPoll: true },
    { name: 'the aggregator has the receipt of the dealer', endsAt: endOf('dealer/conclude') },
    { name: 'the storefront has it', endsAt: settlesAt },
    { name: 'all pieces have their receipts', endsAt: endedAt },
  ])
  const { loads = new Map<string, PartitionLoad>(), count } = cloud.dynamodb
  const stored = new Set<unknown>()
  for (const { task } of cloud.dynamodb.items('storefront-receipt')) stored.add(task)
  return {
    pieces,
    receipts: accepts.filter(task => stored.has(task)).length,
    deadLetters: cloud.deadLetters,
    throttled: count.throttled,
    runs: new Map(cloud.runs),
    loads,
    phases,
    seconds: phases.reduce((sum, { seconds, isPoll }) => sum + (isPoll ? 0 : seconds), 0),
    byWrites: boundByWrites(loads, options),
  }
}

/** The times between events, each from the event before it. An event that happened before that takes no time. */
const phasesOf = ([start, ...events]: { name: string; endsAt: number; isPoll?: boolean }[]): Phase[] => {
  let at = start?.endsAt ?? 0
  return events.map(({ name, endsAt, isPoll = false }) => {
    const seconds = Math.max(0, endsAt - at) / 1000
    at = Math.max(at, endsAt)
    return { name, seconds, isPoll }
  })
}

const longest = (bounds: Bound[]): Bound =>
  bounds.reduce((one, other) => (other.seconds > one.seconds ? other : one), { seconds: 0, name: 'none' })

const boundByWrites = (
  loads: ReadonlyMap<string, PartitionLoad>,
  { writesPerSecond = Infinity }: CloudOptions,
): Bound =>
  longest(
    [...loads]
      // Without a space, it is a whole table or index.
      .filter(([name]) => name.includes(' '))
      .map(([name, { units }]) => ({ name, seconds: units / writesPerSecond })),
  )

/**
 * Returns the least time that runs take for so many pieces: the time of all runs of the busiest function, by the number of runs that
 * its queue allows at once.
 *
 * @param reference a deal without a limit of writes, so that no run waits for it
 */
export const boundByRuns = (reference: Deal, pieces: number): Bound =>
  longest(
    [...reference.runs].flatMap(([name, { totalMs }]) => {
      const concurrency = concurrencyOf(name)
      if (concurrency === undefined) return []
      return [{ name, seconds: ((totalMs / 1000) * (pieces / reference.pieces)) / concurrency }]
    }),
  )

/** Runs of a queue's function at once; `undefined` for other functions. */
const concurrencyOf = (name: string): number | undefined => {
  const [service, queue] = name.split('/') as [keyof typeof RESOURCES, string]
  return RESOURCES[service].queues[queue]?.concurrency
}

/**
 * Bytes of memory that offering an aggregate to the dealer takes: the aggregator sends the list of its pieces, and the dealer computes
 * the aggregate again. Both run in this process. See {@link measureMemory}.
 */
export const measureOffer = async (pieces: number): Promise<number | undefined> => {
  using system = await CloudSystem.open({ makesDeals: false })
  return await measureMemory(
    () => createAggregated(system.cloud, pieces),
    () => system.cloud.until(() => system.offered.length === 1, HOUR),
  )
}
