import { existsSync, mkdtempDisposableSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  DeleteMessageCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs'
import { messages as formats } from '@w3filecoin/aggregator'
import { resources } from '@w3filecoin/aggregator/resources'
import { queueFunction } from '@w3filecoin/aws'
import { sqsEvent } from '@w3filecoin/local/events'
import { placesOf, queueName } from '@w3filecoin/local/provision'
import { type Consumer, each } from '@w3filecoin/runtime'
import { CUT, startWorld, type World } from '@w3filecoin/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type QueueReport, readDeadLetters } from '../../src/ops/dlq.ts'
import { dropLetter } from '../../src/ops/drop.ts'
import { findServices } from '../../src/ops/services.ts'
import type { Target } from '../../src/ops/target.ts'

let world: World
let sqs: SQSClient
let target: Target
let aggregator: Awaited<ReturnType<typeof provide>>
const provide = () => world.provide(resources)

beforeAll(async () => {
  world = await startWorld()
  sqs = new SQSClient({})
  const engine = process.env.AWS_ENDPOINT_URL_SQS as string
  aggregator = await provide()
  target = {
    env: {},
    placesOf: async service =>
      placesOf({ resources: findServices(service)[0]!.resources, service, sqs: engine }),
  }
})
afterAll(() => world.stop())

type Name = 'piece' | 'seal'

const failing: Consumer<unknown> = each({ decode: body => body }, async () => {
  throw new Error('The table is gone', { cause: new Error('An operator dropped it') })
})

/** Fails at messages until they are dead letters. */
const kill = async (name: Name, messages: object[]) => {
  await aggregator
    .queue(name, name === 'seal' ? (formats.seal.order as never) : undefined)
    .send(messages as never[])
  for (let left = messages.length; left > 0; ) {
    const event = sqsEvent(
      queueName('aggregator', name, resources.queues[name]),
      await aggregator.drain(name),
    )
    for (const { attributes } of event.Records) attributes.ApproximateReceiveCount = '5'
    expect(await queueFunction(failing, () => {}, aggregator.deadLetters(name))(event)).toEqual({
      batchItemFailures: [],
    })
    left -= event.Records.length
  }
}

const ops = async (
  name: Name,
  {
    send = false,
    limit = 100,
    client = sqs,
  }: { send?: boolean; limit?: number; client?: Pick<SQSClient, 'send'> } = {},
) => {
  const queues = [{ resources, queue: name }]
  for await (const report of readDeadLetters({ target, client, queues, send, limit })) return report
  throw new Error('Each queue has a report')
}

const untilVisible = () => new Promise(resolve => setTimeout(resolve, 1100))

describe('dead letters', () => {
  it('are read with reason and line of code, and stay in their queue', async () => {
    await kill('piece', [{ id: 'one' }])
    for (const _ of ['first', 'second']) {
      const { service, queue, letters, left } = await ops('piece')
      expect({ service, queue, left }).toEqual({ service: 'aggregator', queue: 'piece', left: 0 })
      expect(letters).toHaveLength(1)
      expect(letters[0]!.body).toBe('{"id":"one"}')
      expect(letters[0]!.postMortem).toMatchObject({
        attempts: 5,
        reason: [{ message: 'The table is gone' }, { message: 'An operator dropped it' }],
        at: expect.stringMatching(/packages\/cli\/test\/ops\/dlq\.test\.ts:\d+:\d+/),
      })
      await untilVisible()
    }
    expect(await aggregator.drain('piece')).toEqual([])
    await ops('piece', { send: true })
    await aggregator.drain('piece')
  })

  it('return to their queue byte for byte, and are deleted', async () => {
    // Not a message of this queue, but any body must return unchanged.
    const odd = { ' id': ['one', '{"\\u0000', 'ä'], n: 1.5e300 }
    await kill('piece', [odd, ...Array.from({ length: 24 }, (_, n) => ({ id: `${n}` }))])
    const { letters, left } = await ops('piece', { send: true })
    expect([letters.length, left]).toEqual([25, 0])
    const back = await aggregator.drain('piece')
    expect(back).toHaveLength(25)
    expect(back.map(({ Body }) => Body)).toContain(JSON.stringify(odd))
    expect(await ops('piece')).toMatchObject({ letters: [], left: 0 })
  })

  it('return to a FIFO queue in their group, although SQS has seen their ids', async () => {
    await kill('seal', [
      { group: 'a', id: 'x' },
      { group: 'b', id: 'y' },
    ])
    expect((await ops('seal', { send: true })).letters).toHaveLength(2)
    const back = await aggregator.drain('seal')
    expect(back.map(({ Body, Attributes }) => [Body, Attributes?.MessageGroupId]).sort()).toEqual([
      ['{"group":"a","id":"x"}', 'a'],
      ['{"group":"b","id":"y"}', 'b'],
    ])
  })

  it.each<[Name, number]>([
    ['piece', 2],
    ['seal', 1],
  ])('survive an interruption between send and delete: %s', async (name, times) => {
    await kill(name, [{ group: 'cut', id: 'cut' }])
    const cutting = {
      send: (command: unknown) => {
        if (!(command instanceof DeleteMessageCommand)) return sqs.send(command as never)
        return Promise.reject(CUT)
      },
    } as Pick<SQSClient, 'send'>
    expect(await ops(name, { send: true, client: cutting })).toMatchObject({ letters: [], failed: CUT })
    await untilVisible()
    expect((await ops(name, { send: true })).letters).toHaveLength(1)
    // A FIFO queue drops a duplicate that arrives within five minutes.
    expect(await aggregator.drain(name)).toHaveLength(times)
    expect(await ops(name)).toMatchObject({ letters: [], left: 0 })
  })

  it('are read up to a limit; those left are counted', async () => {
    await kill(
      'piece',
      Array.from({ length: 12 }, (_, n) => ({ id: `${n}` })),
    )
    expect(await ops('piece', { limit: 11, send: true })).toMatchObject({
      left: 1,
      ended: true,
      letters: { length: 11 },
    })
    expect(await ops('piece', { send: true })).toMatchObject({ left: 0, letters: { length: 1 } })
    await aggregator.drain('piece')
  })

  it('of healthy queues are reported when another queue fails, with the letters it had sent before', async () => {
    const names = ['include', 'piece', 'seal']
    const reports = async (client: Pick<SQSClient, 'send'>, queues = names) => {
      const all: QueueReport[] = []
      for await (const report of readDeadLetters({
        target,
        client,
        queues: queues.map(queue => ({ resources, queue })),
        send: true,
        limit: 100,
      }))
        all.push(report)
      return all
    }
    await kill('piece', [{ id: '1' }, { id: '2' }, { id: '3' }])
    await kill('seal', [{ group: 'a', id: 'z' }])
    let sent = 0
    const failing = {
      send: async (command: { input: { QueueUrl: string } }) => {
        if (/include/.test(command.input.QueueUrl)) throw new Error('The queue does not exist')
        if (command instanceof SendMessageCommand && /piece/.test(command.input.QueueUrl) && ++sent > 2)
          throw new Error('The queue is gone')
        return sqs.send(command as never)
      },
    } as unknown as Pick<SQSClient, 'send'>
    const found = await reports(failing)
    expect(
      found
        .map(({ queue, letters, failed }) => [queue, letters.length, failed && (failed as Error).message])
        .sort(),
    ).toEqual([
      ['include', 0, 'The queue does not exist'],
      ['piece', 2, 'The queue is gone'],
      ['seal', 1, undefined],
    ])
    expect(await aggregator.drain('piece')).toHaveLength(2)
    await aggregator.drain('seal')

    // The letter that was not sent is there for the next run.
    await untilVisible()
    expect(await ops('piece', { send: true })).toMatchObject({ letters: { length: 1 } })
    await aggregator.drain('piece')

    // An unreachable SQS is one error, not one for each queue.
    const gone = { send: () => Promise.reject(new Error('Not reachable')) } as Pick<SQSClient, 'send'>
    await expect(reports(gone)).rejects.toThrow('Not reachable')
    expect(await reports(gone, ['seal'])).toMatchObject([
      { queue: 'seal', failed: new Error('Not reachable') },
    ])
  })

  it('that fail again meanwhile are not sent a second time', async () => {
    await kill('piece', [{ id: '1' }, { id: '2' }, { id: '3' }])
    const { QUEUE_PIECE, DEAD_LETTER_PIECE } = await target.placesOf('aggregator')
    const again = {
      send: async (command: unknown) => {
        const answer = await sqs.send(command as never)
        if (!(command instanceof SendMessageCommand && command.input.QueueUrl === QUEUE_PIECE)) return answer
        // SQS moves a message with its id.
        return sqs.send(new SendMessageCommand({ ...command.input, QueueUrl: DEAD_LETTER_PIECE }))
      },
    } as Pick<SQSClient, 'send'>
    expect(await ops('piece', { send: true, client: again })).toMatchObject({
      letters: { length: 3 },
      left: 0,
      again: expect.toSatisfy(again => again > 0),
    })
    expect(await aggregator.drain('piece')).toHaveLength(3)
    await untilVisible()
    expect(await ops('piece', { send: true })).toMatchObject({ letters: { length: 3 }, again: 0 })
    await aggregator.drain('piece')
  })

  it('that another receiver holds are counted', async () => {
    await kill('piece', [{ id: '1' }])
    const QueueUrl = (await target.placesOf('aggregator')).DEAD_LETTER_PIECE
    await sqs.send(new ReceiveMessageCommand({ QueueUrl, VisibilityTimeout: 3 }))
    expect(await ops('piece')).toMatchObject({ letters: [], left: 1, ended: false })
    await new Promise(resolve => setTimeout(resolve, 3100))
    expect(await ops('piece', { limit: 1, send: true })).toMatchObject({ letters: { length: 1 }, left: 0 })
    await aggregator.drain('piece')
  })

  it('that SQS moved itself have no reason', async () => {
    await aggregator.queue('piece').send([{ id: 'moved' }])
    // As after a crash: the function returns nothing, five times.
    const QueueUrl = (await target.placesOf('aggregator')).QUEUE_PIECE
    for (let n = 0; n < 6; n++) {
      await sqs.send(new ReceiveMessageCommand({ QueueUrl, VisibilityTimeout: 1 }))
      await untilVisible()
    }
    const { letters } = await ops('piece', { send: true })
    expect(letters.map(({ body, postMortem }) => [body, postMortem])).toEqual([['{"id":"moved"}', undefined]])
    await aggregator.drain('piece')
  })
})

describe('a dead letter that is dropped', () => {
  const queues = ['piece', 'seal'].map(queue => ({ resources, queue }))
  const drop = (message: string, copy: string, client: Pick<SQSClient, 'send'> = sqs) =>
    dropLetter({ target, client, queues, message, copy })
  /** Makes dead letters, and returns the id of the first message in its queue. */
  const killed = async (name: Name, messages: object[]) => {
    await kill(name, messages)
    const { letters } = await ops(name)
    await untilVisible()
    return letters.find(({ body }) => body === JSON.stringify(messages[0]))!.message
  }
  const clear = async (name: Name) => {
    await untilVisible()
    await ops(name, { send: true })
    return (await aggregator.drain(name)).map(({ Body }) => Body)
  }
  const directory = mkdtempDisposableSync(join(tmpdir(), 'drop-'))
  const copy = (name: string) => join(directory.path, name)
  afterAll(() => directory[Symbol.dispose]())

  it('is deleted alone, and its copy has its body, its attributes and its post-mortem', async () => {
    const message = await killed('piece', [{ id: 'one' }, { id: 'two' }, { id: 'three' }])
    expect(await drop(message, copy('one.json'))).toEqual({
      service: 'aggregator',
      queue: 'piece',
      message,
      letters: 1,
      copy: copy('one.json'),
    })
    expect(JSON.parse(readFileSync(copy('one.json'), 'utf8'))).toEqual({
      service: 'aggregator',
      queue: 'piece',
      message,
      letters: [
        {
          id: expect.any(String),
          body: '{"id":"one"}',
          attributes: expect.objectContaining({ SentTimestamp: expect.stringMatching(/^\d+$/) }),
          messageAttributes: { PostMortem: expect.objectContaining({ DataType: 'String' }) },
          postMortem: expect.objectContaining({
            message,
            reason: [
              { name: 'Error', message: 'The table is gone' },
              { name: 'Error', message: 'An operator dropped it' },
            ],
          }),
        },
      ],
    })
    expect((await clear('piece')).sort()).toEqual(['{"id":"three"}', '{"id":"two"}'])
  })

  it('is found in a FIFO queue', async () => {
    const message = await killed('seal', [{ group: 'd', id: '1' }])
    expect(await drop(message, copy('fifo.json'))).toMatchObject({ queue: 'seal', letters: 1 })
    expect(JSON.parse(readFileSync(copy('fifo.json'), 'utf8')).letters[0].attributes.MessageGroupId).toBe('d')
    expect(await clear('seal')).toEqual([])
  })

  it.each([
    ['exists already', 'kept.json', 'kept.json exists already, so nothing was dropped'],
    [
      'cannot be created',
      'no/such/directory.json',
      'The copy cannot be written, so nothing was dropped: ENOENT',
    ],
  ])('stays if the file of its copy %s', async (_, name, problem) => {
    writeFileSync(copy('kept.json'), 'mine')
    const message = await killed('piece', [{ id: 'kept' }])
    await expect(drop(message, copy(name))).rejects.toThrow(problem)
    expect(readFileSync(copy('kept.json'), 'utf8')).toBe('mine')
    expect(await clear('piece')).toEqual(['{"id":"kept"}'])
  })

  it('is deleted only when the copy is complete', async () => {
    const message = await killed('piece', [{ id: 'last' }])
    const watching = {
      send: (command: unknown) => {
        if (!(command instanceof DeleteMessageCommand)) return sqs.send(command as never)
        expect(JSON.parse(readFileSync(copy('last.json'), 'utf8'))).toMatchObject({ message })
        return Promise.reject(CUT)
      },
    } as Pick<SQSClient, 'send'>
    await expect(drop(message, copy('last.json'), watching)).rejects.toThrow(
      `The copy is in ${copy('last.json')}, but SQS did not delete the dead letter: `,
    )
    expect(await clear('piece')).toEqual(['{"id":"last"}'])
  })

  it('must exist: otherwise nothing changes, and there is no copy', async () => {
    await killed('piece', [{ id: 'other' }])
    await expect(drop('no-such-message', copy('none.json'))).rejects.toThrow(
      'No dead letter of the message no-such-message in these 2 queues.',
    )
    expect(existsSync(copy('none.json'))).toBe(false)
    expect(await clear('piece')).toEqual(['{"id":"other"}'])
  })
})
