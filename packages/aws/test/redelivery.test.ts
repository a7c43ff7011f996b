import { ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { sqsEvent } from '@w3filecoin/local/events'
import { deadLetterName, placesOf, queueName, queueUrl } from '@w3filecoin/local/provision'
import { pollQueue } from '@w3filecoin/local/queue-source'
import { type Consumer, DONE, each } from '@w3filecoin/runtime'
import { describeResources } from '@w3filecoin/runtime/resources'
import { startWorld, type World } from '@w3filecoin/testing'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Bound, bind, pauseAfter, queueFunction, SqsDeadLetters } from '../src/index.ts'

const ATTEMPTS = 3

const run = { timeout: 10, memory: 128, uses: {} }
const resources = describeResources({
  service: 'patient',
  api: run,
  tables: {},
  queues: {
    work: { batch: 10, concurrency: 1, attempts: ATTEMPTS, run },
    polled: { batch: 10, concurrency: 1, attempts: ATTEMPTS, run },
    inOrder: { fifo: true, batch: 10, concurrency: 2, attempts: 5, run },
  },
  buckets: {},
  schedules: {},
})
type Name = keyof typeof resources.queues & string

let world: World
let sqs: SQSClient
let aws: Bound<typeof resources>

beforeAll(async () => {
  world = await startWorld()
  sqs = new SQSClient({})
  await world.provide(resources)
  const places = placesOf({ resources, service: 'patient', sqs: world.env.AWS_ENDPOINT_URL_SQS! })
  aws = bind(resources, { ...process.env, ...places }, undefined, 0.2)
})
afterAll(() => world.stop())

const urlOf = (name: string) => queueUrl(world.env.AWS_ENDPOINT_URL_SQS!, name)
const physical = (queue: Name) => queueName('patient', queue, resources.queues[queue])

const receive = async (name: string) => {
  const { Messages = [] } = await sqs.send(
    new ReceiveMessageCommand({
      QueueUrl: urlOf(name),
      MaxNumberOfMessages: 10,
      MessageSystemAttributeNames: ['All'],
    }),
  )
  return Messages
}

/** Runs a consumer of a queue until the end of the test, as Lambda does. */
const poll = (queue: Name, consumer: Consumer<never>) =>
  pollQueue({
    client: sqs,
    queue: physical(queue),
    url: urlOf(physical(queue)),
    spec: resources.queues[queue],
    run: queueFunction(consumer, () => {}, aws.deadLetters(queue)) as never,
    log: () => {},
  })

const reject: Consumer<unknown> = each({ decode: body => body }, async () => ({
  error: { name: 'Invalid', message: 'no' },
}))

describe('a failed message', () => {
  it('is a dead letter after 14 minutes with the default of 10 seconds and five attempts', () => {
    const pauses = [1, 2, 3, 4].map(attempt => pauseAfter(attempt, 10))
    expect(pauses).toEqual([10, 40, 160, 640])
    expect(pauses.reduce((sum, pause) => sum + pause, 0)).toBe(850)
    expect(pauseAfter(5, 10)).toBe(900)
    expect(pauseAfter(1, 0.2)).toBe(1)
  })

  it('is delivered again after the pause, which is shorter than the visibility timeout of a minute', async () => {
    await aws.queue('work').send([{ n: 1 }])
    const batch = await receive(physical('work'))
    const event = sqsEvent(physical('work'), batch)
    const began = performance.now()
    const answer = await queueFunction(reject, () => {}, aws.deadLetters('work'))(event)
    expect(answer.batchItemFailures).toHaveLength(1)
    expect(await receive(physical('work'))).toEqual([])
    const [again] = await vi.waitUntil(
      async () => {
        const messages = await receive(physical('work'))
        return messages.length > 0 && messages
      },
      { timeout: 10_000, interval: 100 },
    )
    expect(performance.now() - began).toBeGreaterThan(900)
    expect(again).toMatchObject({ Body: '{"n":1}', Attributes: { ApproximateReceiveCount: '2' } })
  })

  it('is delivered again after the visibility timeout if SQS does not accept the pause', async () => {
    await aws.queue('work').send([{ n: 2 }])
    const event = sqsEvent(physical('work'), await receive(physical('work')))
    const logged: string[] = []
    const failing = {
      ...aws.deadLetters('work'),
      attempts: ATTEMPTS,
      put: async () => {},
      postpone: async () => {
        throw new Error('AccessDenied')
      },
    }
    const run = queueFunction(reject, (_, event) => logged.push(event), failing)
    expect((await run(event)).batchItemFailures).toHaveLength(1)
    expect(logged).toEqual(['message failed', 'redelivery not hastened'])
  })

  it('that no attempt accepts is a dead letter within seconds, and the others of its batch are handled', async () => {
    const handled: unknown[] = []
    const consumer: Consumer<{ poison?: boolean }> = each(
      { decode: body => body as { poison?: boolean } },
      async message => {
        if (message.poison) throw new Error('poison')
        handled.push(message)
        return DONE
      },
    )
    const began = performance.now()
    const source = poll('polled', consumer as Consumer<never>)
    try {
      await aws.queue('polled').send([{ n: 1 }, { poison: true }, { n: 2 }])
      const letters = deadLetterName('patient', 'polled', resources.queues.polled)
      const [letter] = await vi.waitUntil(
        async () => {
          const messages = await receive(letters)
          return messages.length > 0 && messages
        },
        { timeout: 30_000, interval: 200 },
      )
      expect(letter!.Body).toBe('{"poison":true}')
      // Two pauses of a second. The visibility timeout of the queue is a minute.
      expect(performance.now() - began).toBeLessThan(20_000)
      expect(handled).toHaveLength(2)
    } finally {
      await source.stop()
    }
  })

  it('of a FIFO queue stays ahead of the later messages of its group', async () => {
    const seen: string[] = []
    const consumer: Consumer<{ group: string; n: number }> = each(
      { decode: body => body as { group: string; n: number } },
      async ({ group, n }) => {
        seen.push(`${group}${n}`)
        const isFirst = group === 'a' && n === 1 && seen.filter(id => id === 'a1').length < 3
        return isFirst ? { error: { name: 'Busy', message: 'not now' } } : DONE
      },
    )
    const source = poll('inOrder', consumer as Consumer<never>)
    try {
      const messages = [1, 2, 3].flatMap(n => ['a', 'b'].map(group => ({ group, n })))
      await aws
        .queue<{ group: string; n: number }>('inOrder', {
          group: ({ group }) => group,
          id: ({ group, n }) => `${group}${n}`,
        })
        .send(messages)
      await vi.waitUntil(() => seen.includes('a3') && seen.includes('b3'), { timeout: 30_000 })
      expect(seen.filter(id => id.startsWith('a'))).toEqual(['a1', 'a1', 'a1', 'a2', 'a3'])
      expect(seen.indexOf('b3')).toBeLessThan(seen.lastIndexOf('a1'))
    } finally {
      await source.stop()
    }
  })
})

describe('postpone', () => {
  const record = (n: number, attempt: number, group?: string) => {
    const [one] = sqsEvent('queue.fifo', [
      {
        MessageId: `${n}`,
        ReceiptHandle: `receipt ${n}`,
        Body: '{}',
        Attributes: { ApproximateReceiveCount: `${attempt}`, ...(group && { MessageGroupId: group }) },
      },
    ]).Records
    return one!
  }
  const postpone = async (
    records: ReturnType<typeof record>[],
    answer: object = {},
    calls: { Id: string; ReceiptHandle: string; VisibilityTimeout: number }[][] = [],
  ) => {
    const client = {
      send: async ({ input }: { input: { QueueUrl: string; Entries: (typeof calls)[number] } }) => {
        expect(input.QueueUrl).toBe('work')
        calls.push(input.Entries)
        return answer
      },
    }
    const letters = new SqsDeadLetters({
      client: client as never,
      service: 'patient',
      queue: 'work',
      attempts: 5,
      redeliverySeconds: 10,
      url: () => 'dead',
      workUrl: () => 'work',
    })
    await letters.postpone(records)
    return calls
  }

  it('has the messages of a FIFO group wait as long as the first one that failed', async () => {
    const calls = await postpone([record(1, 2, 'a'), record(2, 1, 'a'), record(3, 1, 'b'), record(4, 3, 'a')])
    expect(calls.flat().map(({ VisibilityTimeout }) => VisibilityTimeout)).toEqual([40, 40, 10, 40])
  })

  it('has each message of a standard queue wait for its own attempt, ten messages in a call', async () => {
    const calls = await postpone(Array.from({ length: 12 }, (_, n) => record(n, 1 + (n % 4))))
    expect(calls.map(({ length }) => length)).toEqual([10, 2])
    expect(calls[0]!.slice(0, 4)).toEqual(
      [10, 40, 160, 640].map((VisibilityTimeout, n) => ({
        Id: `${n}`,
        ReceiptHandle: `receipt ${n}`,
        VisibilityTimeout,
      })),
    )
    expect(new Set(calls[0]!.map(({ Id }) => Id)).size).toBe(10)
  })

  it('throws if SQS does not accept the pause of some messages, after it has sent those of the others', async () => {
    const answer = { Failed: [{ Id: '0', Code: 'MessageNotInflight', Message: 'It is visible' }] }
    const calls: never[][] = []
    const records = Array.from({ length: 11 }, (_, n) => record(n, 1))
    await expect(postpone(records, answer, calls)).rejects.toThrow(
      'work did not accept the pause of 2 messages: MessageNotInflight It is visible',
    )
    expect(calls.map(({ length }) => length)).toEqual([10, 1])
  })
})
