import { describe, expect, it } from 'vitest'
import {
  Choices,
  DeterministicBlocks,
  DeterministicQueue,
  DeterministicTable,
  DeterministicWorld,
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

/** A world that goes on by itself, as long as the test runs, at the pace of the clock on the wall. */
const livingWorld = (): DeterministicWorld => {
  const world = new DeterministicWorld({ choices: new Choices(1) })
  const started = Date.now()
  const start = world.now()
  const live = setInterval(() => void world.timeline.run(() => false, start + Date.now() - started), 5)
  live.unref()
  return world
}

describe('DeterministicTable', () => {
  tableContract(() => {
    const world = livingWorld()
    const { sample, rangeSample } = SAMPLE_TABLES
    return {
      sample: new DeterministicTable<Sample>({ name: 'sample', spec: sample, world, lag: 0 }),
      rangeSample: new DeterministicTable<RangeSample>({ name: 'range', spec: rangeSample, world, lag: 0 }),
    }
  })
})

describe('DeterministicQueue', () => {
  queueContract(() => {
    const world = livingWorld()
    const run = { timeout: 10, memory: 128, uses: {} }
    const spec = { batch: 10, concurrency: 1, attempts: 3, run }
    const standard = new DeterministicQueue<SampleMessage>({ name: 'standard', spec, world })
    const fifo = new DeterministicQueue<SampleMessage>({
      name: 'fifo',
      spec: { ...spec, fifo: true },
      world,
      fifo: { group: ({ group }) => group, id: ({ group, n }) => `${group}-${n}` },
    })
    return { standard, fifo, take: async name => ({ standard, fifo })[name].take() }
  })
})

describe('DeterministicBlocks', () => {
  blocksContract(() => new DeterministicBlocks({ name: 'blocks', world: livingWorld() }))
})
