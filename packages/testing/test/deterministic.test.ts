import { describe, expect, it } from 'vitest'
import {
  Choices,
  DeterministicBlocks,
  DeterministicQueue,
  DeterministicTable,
  DeterministicWorld,
  type Faults,
  faultAt,
  randomFaults,
} from '../src/deterministic/index.ts'
import {
  blocksContract,
  queueContract,
  type RangeSample,
  SAMPLE_TABLES,
  type Sample,
  type SampleMessage,
  tableContract,
} from '../src/index.ts'

/** Returns a world whose time passes in real time while the test runs. */
const startWorld = (): DeterministicWorld => {
  const world = new DeterministicWorld({ choices: new Choices(1) })
  const started = Date.now()
  const start = world.now()
  const live = setInterval(() => void world.timeline.run(() => false, start + Date.now() - started), 5)
  live.unref()
  return world
}

describe('DeterministicTable', () => {
  tableContract(() => {
    const world = startWorld()
    const { sample, rangeSample } = SAMPLE_TABLES
    return {
      sample: new DeterministicTable<Sample>({ name: 'sample', spec: sample, world, lag: 0 }),
      rangeSample: new DeterministicTable<RangeSample>({ name: 'range', spec: rangeSample, world, lag: 0 }),
    }
  })
})

describe('DeterministicQueue', () => {
  queueContract(() => {
    const world = startWorld()
    const run = { timeout: 10, memory: 128, uses: {} }
    const spec = { batch: 10, concurrency: 1, attempts: 3, run }
    const standard = new DeterministicQueue<SampleMessage>({ name: 'standard', spec, world })
    const fifo = new DeterministicQueue<SampleMessage>({
      name: 'fifo',
      spec: { ...spec, fifo: true },
      world,
      order: { group: ({ group }) => group, id: ({ group, n }) => `${group}-${n}` },
    })
    return { standard, fifo, take: async name => ({ standard, fifo })[name].take() }
  })
})

describe('DeterministicBlocks', () => {
  blocksContract(() => new DeterministicBlocks({ name: 'blocks', world: startWorld() }))
})

describe('DeterministicWorld', () => {
  /** Writes a record with faults, and returns how the function ended, the number of records, and the trace. */
  const write = async (seed: number, faultsOf: (choices: Choices) => Faults) => {
    const choices = new Choices(seed)
    const world = new DeterministicWorld({ choices })
    world.faults = faultsOf(choices)
    const table = new DeterministicTable<Sample>({ name: 't', spec: SAMPLE_TABLES.sample, world, lag: 0 })
    const ended = world.execute({ name: 'writer', seconds: 60 }, async () => {
      const inserted = await table.insert({ id: 'a' })
      return inserted.ok ? 'ok' : inserted.error.name
    })
    let how: unknown
    void ended.then(end => {
      how = 'ok' in end ? end.ok : 'error' in end ? 'error' : 'killed'
    })
    await world.timeline.run(() => how !== undefined)
    return { how, written: table.items.size, trace: world.trace() }
  }

  it.each([
    ['refuse', 'error', 0],
    ['fail', 'error', 1],
    ['repeat', 'RecordExists', 1],
    ['part', 'error', 0],
    ['killBefore', 'killed', 0],
    ['killAfter', 'killed', 1],
  ] as const)('%s: the function sees %s, and %i records are written', async (fault, how, written) => {
    expect(await write(1, () => faultAt(0, fault))).toMatchObject({ how, written })
  })

  it('has the same trace for the same seed, and another one for another seed', async () => {
    const faults = (choices: Choices) => randomFaults(choices, { refuse: 0.3, stall: 0.3, killAfter: 0.3 })
    const runs = await Promise.all([1, 1, 2, 3].map(seed => write(seed, faults)))
    const [one, again, ...others] = runs.map(({ trace }) => trace)
    expect(again).toBe(one)
    expect(new Set([one, ...others]).size).toBe(3)
  })

  it('delivers a failed message again, and moves it to the dead letters after its last attempt', async () => {
    const world = new DeterministicWorld({ choices: new Choices(1) })
    const run = { timeout: 10, memory: 128, uses: {} }
    const spec = { batch: 10, concurrency: 1, attempts: 3, run }
    const queue = new DeterministicQueue<number>({ name: 'q', spec, world })
    const seen: string[] = []
    queue.consume(async ({ Records }) => {
      seen.push(...Records.map(({ body }) => body))
      return {
        batchItemFailures: Records.filter(({ body }) => body === '1').map(({ messageId }) => ({
          itemIdentifier: messageId,
        })),
      }
    })
    queue.deliver(1)
    queue.deliver(2)
    await world.timeline.run(() => queue.size === 0)
    expect(seen.toSorted()).toEqual(['1', '1', '1', '2'])
    expect(queue.dead.map(({ body }) => body)).toEqual(['1'])
  })
})
