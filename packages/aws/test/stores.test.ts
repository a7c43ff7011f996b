import { describeResources, variable, visibilityTimeout } from '@w3filecoin/runtime/resources'
import {
  blocksContract,
  queueContract,
  type RangeSample,
  SAMPLE_TABLES,
  type Sample,
  type SampleMessage,
  startWorld,
  tableContract,
  type World,
} from '@w3filecoin/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bind, putObject } from '../src/index.ts'

const run = { timeout: 10, memory: 128, uses: {} }

const resources = describeResources({
  service: 'contracts',
  api: run,
  tables: SAMPLE_TABLES,
  queues: {
    standard: { batch: 10, concurrency: 1, attempts: 3, run },
    fifo: { fifo: true, batch: 10, concurrency: 1, attempts: 3, run },
  },
  buckets: { blocks: { holds: 'blocks' } },
  schedules: {},
})

let world: World
const provided = async () => world.provide(resources)

beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world.stop())

describe('DynamoTable', () => {
  tableContract(async () => {
    const aws = await provided()
    return { sample: aws.table<Sample>('sample'), rangeSample: aws.table<RangeSample>('rangeSample') }
  })
})

describe('SqsQueue', () => {
  queueContract(async () => {
    const aws = await provided()
    return {
      standard: aws.queue<SampleMessage>('standard'),
      fifo: aws.queue<SampleMessage>('fifo', {
        group: ({ group }) => group,
        id: ({ group, n }) => `${group}-${n}`,
      }),
      take: async name => (await aws.drain(name)).map(({ Body }) => JSON.parse(Body as string)),
    }
  })
})

describe('S3Blocks', () => {
  blocksContract(async () => (await provided()).blocks('blocks'))

  it('throws when it reads a damaged block', async () => {
    const aws = await provided()
    const blocks = aws.blocks('blocks')
    const link = await blocks.put(new Uint8Array([1, 2, 3]), 0x55)
    const { client, bucket } = aws.bucket('blocks')
    await putObject({ client, bucket, key: `${link}`, bytes: new Uint8Array([1, 2, 4]), type: 'x' })
    await expect(blocks.get(link)).rejects.toThrow(`The block ${link} is damaged`)
  })
})

describe('bind', () => {
  it('reads the variable of a resource when it is used, and throws an error that names a missing one', async () => {
    const aws = bind(resources, { TABLE_SAMPLE: 'somewhere' })
    expect(() => aws.table('sample')).not.toThrow()
    await expect(aws.table<RangeSample>('rangeSample').get({ id: 'x' })).rejects.toThrow(
      'The environment variable TABLE_RANGE_SAMPLE is not set. It must hold the name of a table of contracts.',
    )
    await expect(aws.queue('standard').send([1])).rejects.toThrow('QUEUE_STANDARD')
    await expect(aws.blocks('blocks').put(new Uint8Array(), 0x55)).rejects.toThrow('BUCKET_BLOCKS')
  })
})

describe('a description of resources', () => {
  it.each([
    ['table', 'piece', 'TABLE_PIECE'],
    ['queue', 'pieceOffer', 'QUEUE_PIECE_OFFER'],
    ['bucket', 'offer-documents', 'BUCKET_OFFER_DOCUMENTS'],
  ] as const)('names the variable of the %s %s', (kind, name, expected) => {
    expect(variable(kind, name)).toBe(expected)
  })

  it('hides a message for six times the timeout of its consumer, plus the batch window', () => {
    const queue = { batch: 1, concurrency: 1, attempts: 1, run: { ...run, timeout: 60 } }
    expect(visibilityTimeout(queue)).toBe(360)
    expect(visibilityTimeout({ ...queue, window: 5 })).toBe(365)
  })
})
