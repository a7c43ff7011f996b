import { EventEmitter } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Message, ReceiveMessageCommand, type SQSClient } from '@aws-sdk/client-sqs'
import { expect, it, vi } from 'vitest'
import { pollQueue } from '../src/queue-source.ts'
import { runSchedule } from '../src/schedule-source.ts'

/** What waits on one machine, and what wakes it. */

const log = () => {}
const run = { timeout: 60, memory: 128, uses: {} }
const PATIENCE = { timeout: 20_000, interval: 10 }

it('a message of an idle queue is handled at once, later ones when the window of the batch is over', async () => {
  const waiting: Message[] = []
  const client = {
    send: async (command: object) => {
      if (!(command instanceof ReceiveMessageCommand)) return {}
      if (command.input.WaitTimeSeconds) await vi.waitUntil(() => waiting.length > 0 || stopped, PATIENCE)
      return { Messages: waiting.splice(0) }
    },
  } as unknown as SQSClient
  const handled: string[] = []
  const source = pollQueue({
    client,
    queue: 'queue',
    url: 'http://127.0.0.1/queue',
    spec: { batch: 10, window: 3600, concurrency: 1, attempts: 5, run } as never,
    run: event => {
      for (const { body } of (event as { Records: { body: string }[] }).Records) handled.push(body)
    },
    log,
  })
  let stopped = false
  const send = (text: string) => waiting.push({ MessageId: text, ReceiptHandle: text, Body: text })
  send('first')
  await vi.waitUntil(() => handled.length > 0, PATIENCE)
  send('second')
  await sleep(300)
  expect(handled).toEqual(['first'])
  stopped = true
  await source.stop()
})

it('a schedule runs at its time after each event that leaves it work, and many events share a run', async () => {
  const events = new EventEmitter()
  const runs: number[] = []
  const source = runSchedule({
    schedule: 'schedule',
    spec: { everySeconds: 3600, run },
    everySeconds: 3600,
    wake: { after: 'queue', seconds: 0.4 },
    events,
    run: () => void runs.push(performance.now()),
    log,
  })
  await vi.waitUntil(() => runs.length === 1, PATIENCE)
  events.emit('another queue')
  await sleep(600)
  expect(runs, 'without an event').toHaveLength(1)

  const times: number[] = []
  for (let n = 0; n < 10; n++) {
    times.push(performance.now())
    events.emit('queue')
    await sleep(50)
  }
  // A timer counts whole milliseconds, so it may be early by a part of one.
  const leastMs = 399
  const isFollowed = (time: number) => runs.some(run => run >= time + leastMs)
  await vi.waitUntil(() => times.every(isFollowed), PATIENCE)
  expect(runs[1], 'not before its time').toBeGreaterThanOrEqual(times[0]! + leastMs)
  await sleep(600)
  expect(runs.length).toBeLessThan(8)
  await source.stop()
  expect(events.listenerCount('queue')).toBe(0)
})

it('an event during a run of its schedule is followed by one more run', async () => {
  const events = new EventEmitter()
  let runs = 0
  const source = runSchedule({
    schedule: 'schedule',
    spec: { everySeconds: 3600, run },
    everySeconds: 3600,
    wake: { after: 'market', seconds: 0 },
    events,
    run: async () => {
      runs++
      await sleep(100)
      if (runs === 1) events.emit('market')
      await sleep(100)
    },
    log,
  })
  await vi.waitUntil(() => runs === 2, PATIENCE)
  await source.stop()
})
