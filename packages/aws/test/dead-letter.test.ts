import { DeleteMessageCommand, type Message, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { sqsEvent } from '@w3filecoin/local/events'
import { deadLetterName, queueName, queueUrl } from '@w3filecoin/local/provision'
import { type Consumer, DONE, each } from '@w3filecoin/runtime'
import { describeResources } from '@w3filecoin/runtime/resources'
import { startWorld, type World } from '@w3filecoin/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type DeadLetters, queueFunction, readPostMortem } from '../src/index.ts'

const run = { timeout: 10, memory: 128, uses: {} }
const resources = describeResources({
  service: 'mortal',
  api: run,
  tables: {},
  queues: {
    work: { batch: 10, concurrency: 1, attempts: 3, run },
    inOrder: { fifo: true, batch: 10, concurrency: 1, attempts: 1, run },
  },
  buckets: {},
  schedules: {},
})

let world: World
let sqs: SQSClient
let engine: string
let mortal: Awaited<ReturnType<typeof provide>>
const provide = () => world.provide(resources)

beforeAll(async () => {
  world = await startWorld()
  sqs = new SQSClient({})
  engine = process.env.AWS_ENDPOINT_URL_SQS as string
  mortal = await provide()
})
afterAll(() => world.stop())

const dead = async (queue: 'work' | 'inOrder'): Promise<Message[]> => {
  const QueueUrl = queueUrl(engine, deadLetterName('mortal', queue, resources.queues[queue]))
  const { Messages = [] } = await sqs.send(
    new ReceiveMessageCommand({
      QueueUrl,
      MaxNumberOfMessages: 10,
      MessageAttributeNames: ['All'],
      MessageSystemAttributeNames: ['All'],
    }),
  )
  for (const { ReceiptHandle } of Messages)
    await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }))
  return Messages
}

/** Takes the messages that are in the queue now, as the event of their attempt number `count`. */
const attempt = async (queue: 'work' | 'inOrder', count: number) => {
  const event = sqsEvent(queueName('mortal', queue, resources.queues[queue]), await mortal.drain(queue))
  for (const { attributes } of event.Records) attributes.ApproximateReceiveCount = `${count}`
  return event
}

const failWith = (reason: Error | { name: string; message: string }): Consumer<unknown> =>
  each({ decode: body => body }, async () => {
    if (reason instanceof Error) throw reason
    return { error: reason }
  })

describe('a message that fails', () => {
  it('is delivered again before its last attempt', async () => {
    await mortal.queue('work').send([{ n: 1 }])
    const event = await attempt('work', 2)
    const take = queueFunction(failWith(new Error('no')), () => {}, mortal.deadLetters('work'))
    expect((await take(event)).batchItemFailures).toEqual([{ itemIdentifier: event.Records[0]!.messageId }])
    expect(await dead('work')).toEqual([])
  })

  it('becomes a dead letter with the reason after its last attempt, and is not delivered again', async () => {
    await mortal.queue('work').send([{ text: 'grüße' }])
    const event = await attempt('work', 3)
    const cause = new TypeError('a cause with 🐘 and \u0007')
    const reason = new Error('the table is gone', { cause })
    const take = queueFunction(failWith(reason), () => {}, mortal.deadLetters('work'))
    expect(await take(event)).toEqual({ batchItemFailures: [] })

    const [letter, ...others] = await dead('work')
    expect(others).toEqual([])
    expect(letter!.Body).toBe(event.Records[0]!.body)
    expect(readPostMortem(letter!.MessageAttributes)).toEqual({
      service: 'mortal',
      queue: 'work',
      message: event.Records[0]!.messageId,
      attempts: 3,
      sentAt: Number(event.Records[0]!.attributes.SentTimestamp),
      reason: [
        { name: 'Error', message: 'the table is gone' },
        { name: 'TypeError', message: 'a cause with 🐘 and \u0007' },
      ],
      at: expect.stringMatching(/^packages\/aws\/test\/dead-letter\.test\.ts:\d+:\d+$/),
    })
  })

  it('names the source file of a bundle, whose source map leads to the root of the file system', async () => {
    await mortal.queue('work').send([{}])
    const reason = new Error('no')
    reason.stack = [
      'Error: no',
      '    at parse (/node_modules/.pnpm/zod@4.6.7/node_modules/zod/v4/core/parse.js:1:2)',
      '    at Object.body (/packages/runtime/src/messages/message-format.ts:42:19)',
    ].join('\n')
    const take = queueFunction(failWith(reason), () => {}, mortal.deadLetters('work'))
    await take(await attempt('work', 3))
    expect(readPostMortem((await dead('work'))[0]!.MessageAttributes)?.at).toBe(
      'Object.body (packages/runtime/src/messages/message-format.ts:42:19)',
    )
  })

  it('has a post-mortem without a line of code if the consumer returned the failure', async () => {
    await mortal.queue('work').send([{}])
    const failure = { name: 'Busy', message: 'not now' }
    const take = queueFunction(failWith(failure), () => {}, mortal.deadLetters('work'))
    await take(await attempt('work', 3))
    const postMortem = readPostMortem((await dead('work'))[0]!.MessageAttributes)
    expect(postMortem?.reason).toEqual([failure])
    expect(postMortem).not.toHaveProperty('at')
  })

  it('has a post-mortem of bounded size, however long the reason is', async () => {
    await mortal.queue('work').send([{}])
    let reason = new Error('x'.repeat(1_000_000))
    for (let n = 0; n < 100; n++) reason = new Error('y'.repeat(1_000_000), { cause: reason })
    const take = queueFunction(failWith(reason), () => {}, mortal.deadLetters('work'))
    expect(await take(await attempt('work', 3))).toEqual({ batchItemFailures: [] })
    const causes = readPostMortem((await dead('work'))[0]!.MessageAttributes)!.reason
    expect(causes).toHaveLength(5)
    expect(causes.every(({ message }) => message.length === 1000)).toBe(true)
  })

  it('keeps its group in a FIFO queue, and arrives there once if it is sent twice', async () => {
    const queue = mortal.queue<{ group: string }>('inOrder', {
      group: ({ group }) => group,
      id: ({ group }) => group,
    })
    await queue.send([{ group: 'a' }, { group: 'b' }])
    const event = await attempt('inOrder', 1)
    const consumer: Consumer<{ group: string }> = each(
      { decode: body => body as { group: string } },
      async ({ group }) => (group === 'a' ? { error: { name: 'Busy', message: 'not now' } } : DONE),
    )
    const take = queueFunction(consumer, () => {}, mortal.deadLetters('inOrder'))
    expect(await take(event)).toEqual({ batchItemFailures: [] })
    expect(await take(event)).toEqual({ batchItemFailures: [] })
    const letters = await dead('inOrder')
    expect(letters.map(({ Body, Attributes }) => [Body, Attributes?.MessageGroupId])).toEqual([
      ['{"group":"a"}', 'a'],
    ])
  })

  it('is left to SQS if the dead-letter queue cannot be reached', async () => {
    await mortal.queue('work').send([{}])
    const event = await attempt('work', 3)
    const unreachable: DeadLetters = {
      attempts: 3,
      put: async () => {
        throw new Error('unreachable')
      },
      postpone: async () => {},
    }
    const logged: string[] = []
    const take = queueFunction(failWith(new Error('no')), (_, event) => logged.push(event), unreachable)
    expect((await take(event)).batchItemFailures).toEqual([{ itemIdentifier: event.Records[0]!.messageId }])
    expect(logged).toEqual(['message failed', 'dead letter not sent'])
  })
})

describe('readPostMortem', () => {
  it.each([
    ['no attributes', undefined],
    ['another attribute', { Other: { DataType: 'String', StringValue: '{}' } }],
    ['an attribute that is not JSON', { PostMortem: { DataType: 'String', StringValue: '{' } }],
    ['JSON that is not a post-mortem', { PostMortem: { DataType: 'String', StringValue: '{"attempts":1}' } }],
  ])('returns undefined for %s', (_, attributes) => {
    expect(readPostMortem(attributes)).toBeUndefined()
  })
})
