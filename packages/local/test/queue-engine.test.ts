import { DatabaseSync } from 'node:sqlite'
import {
  ChangeMessageVisibilityCommand,
  CreateQueueCommand,
  DeleteMessageCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs'
import { type FauxqsServer, startFauxqs } from 'fauxqs'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { temporaryDirectory } from './echo/index.ts'

/** The patch of the engine in `patches/`. */
describe('the SQS engine', () => {
  const directory = temporaryDirectory()
  let settings: unknown[]
  let engine: FauxqsServer
  let sqs: SQSClient

  beforeAll(async () => {
    const exec = vi.spyOn(DatabaseSync.prototype, 'exec')
    engine = await startFauxqs({ port: 0, logger: false, dataDir: directory.path })
    settings = exec.mock.calls.flat()
    exec.mockRestore()
    sqs = new SQSClient({
      region: 'us-east-1',
      endpoint: `http://127.0.0.1:${engine.port}`,
      credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    })
  })
  afterAll(async () => {
    sqs.destroy()
    await engine.stop()
    directory[Symbol.dispose]()
  })

  const create = async (QueueName: string): Promise<string> => {
    const Attributes = QueueName.endsWith('.fifo') ? { FifoQueue: 'true' } : {}
    return (await sqs.send(new CreateQueueCommand({ QueueName, Attributes }))).QueueUrl as string
  }
  const receive = async (QueueUrl: string, WaitTimeSeconds = 0) => {
    const { Messages = [] } = await sqs.send(
      new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds, VisibilityTimeout: 60 }),
    )
    return Messages[0]
  }
  /** Runs a step while a receiver waits. Returns the message that it gets, and the milliseconds from the step to it. */
  const whileWaiting = async (QueueUrl: string, step: () => Promise<unknown>) => {
    const receiving = receive(QueueUrl, 10)
    await new Promise(resolve => setTimeout(resolve, 200))
    const from = performance.now()
    await step()
    const message = await receiving
    return { body: message?.Body, afterMs: performance.now() - from }
  }

  /** Sends messages of one group to a FIFO queue, in order. */
  const sendInGroup = async (QueueUrl: string, ...bodies: string[]) => {
    for (const MessageBody of bodies)
      await sqs.send(
        new SendMessageCommand({
          QueueUrl,
          MessageBody,
          MessageGroupId: 'a',
          MessageDeduplicationId: MessageBody,
        }),
      )
  }

  it('stores messages without a sync of the disk at each', () => {
    expect(settings).toContain('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
  })

  it('has no timer for a receiver that waits for a queue without hidden messages', async () => {
    const QueueUrl = await create('empty')
    const timers = vi.spyOn(globalThis, 'setInterval')
    expect(await receive(QueueUrl, 1)).toBeUndefined()
    expect(timers).not.toHaveBeenCalled()
    timers.mockRestore()
  })

  it('wakes a waiting receiver when a message is sent, and when a delayed one is due', async () => {
    const QueueUrl = await create('delayed')
    const send = (MessageBody: string, DelaySeconds: number) => () =>
      sqs.send(new SendMessageCommand({ QueueUrl, MessageBody, DelaySeconds }))
    const sent = await whileWaiting(QueueUrl, send('now', 0))
    expect(sent.body).toBe('now')
    expect(sent.afterMs).toBeLessThan(2_000)
    const delayed = await whileWaiting(QueueUrl, send('later', 1))
    expect(delayed.body).toBe('later')
    expect(delayed.afterMs).toBeGreaterThan(900)
    expect(delayed.afterMs).toBeLessThan(4_000)
  })

  it('wakes a waiting receiver when a received message is visible again, also if it was hidden for longer before', async () => {
    const QueueUrl = await create('hidden')
    await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: 'again' }))
    const { ReceiptHandle } = (await receive(QueueUrl))!
    const { body, afterMs } = await whileWaiting(QueueUrl, () =>
      sqs.send(new ChangeMessageVisibilityCommand({ QueueUrl, ReceiptHandle, VisibilityTimeout: 1 })),
    )
    expect(body).toBe('again')
    expect(afterMs).toBeGreaterThan(900)
    expect(afterMs).toBeLessThan(4_000)
  })

  it('wakes a waiting receiver of a FIFO queue when a received message is visible again', async () => {
    const QueueUrl = await create('order.fifo')
    await sendInGroup(QueueUrl, 'first', 'second')
    const { ReceiptHandle } = (await receive(QueueUrl))!
    const again = await whileWaiting(QueueUrl, () =>
      sqs.send(new ChangeMessageVisibilityCommand({ QueueUrl, ReceiptHandle, VisibilityTimeout: 1 })),
    )
    expect(again.body).toBe('first')
    expect(again.afterMs).toBeLessThan(4_000)
  })

  it('wakes a waiting receiver of a FIFO queue with the next message of a group', async () => {
    const QueueUrl = await create('next.fifo')
    await sendInGroup(QueueUrl, 'first', 'second')
    const { ReceiptHandle } = (await receive(QueueUrl))!
    const next = await whileWaiting(QueueUrl, () =>
      sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle })),
    )
    expect(next.body).toBe('second')
    expect(next.afterMs).toBeLessThan(2_000)
  })
})
