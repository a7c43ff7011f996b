import { setTimeout as sleep } from 'node:timers/promises'
import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  type Message,
  ReceiveMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs'
import type { Log } from '@w3filecoin/runtime'
import type { QueueSpec } from '@w3filecoin/runtime/resources'
import { failedOf, sqsEvent } from './events.ts'
import { type EventSource, invoke, type LambdaFunction } from './invoke.ts'

/** Runs of one queue's function at a time, whatever AWS would do: this is one machine. */
const MAX_RUNS = 4
/** The most messages that SQS gives or takes in one call. */
const SQS_BATCH = 10
/** Seconds that a call waits for messages. */
const LONG_POLL = 20
/**
 * Seconds for which messages are hidden while a run works on them, renewed for as long as it does: on AWS it is
 * the queue's visibility timeout, but after a crash nobody wants to wait for that here.
 */
const HIDDEN = 20
/** Seconds until a failed message comes again: doubled at each attempt, up to a bound. */
const RETRY = 1
const MAX_RETRY = 30

interface QueueSourceOptions {
  client: SQSClient
  /** Physical name of the queue. */
  queue: string
  url: string
  spec: QueueSpec
  run: LambdaFunction
  log: Log
}

/**
 * Lambda's event source of a queue: collects a batch, runs the function, deletes what is done with, lets the rest
 * come again. What was tried too often, and the function did not give up by itself, SQS moves to the dead-letter queue.
 */
export const pollQueue = ({ client, queue, url, spec, run, log }: QueueSourceOptions): EventSource => {
  const stopping = new AbortController()
  const runs = new Set<Promise<void>>()
  const concurrency = Math.min(spec.concurrency, MAX_RUNS)

  const receive = async (most: number, wait: number): Promise<Message[]> => {
    const { Messages = [] } = await client.send(
      new ReceiveMessageCommand({
        QueueUrl: url,
        MaxNumberOfMessages: Math.min(most, SQS_BATCH),
        WaitTimeSeconds: wait,
        VisibilityTimeout: HIDDEN,
        MessageSystemAttributeNames: ['All'],
      }),
      { abortSignal: stopping.signal },
    )
    return Messages
  }

  /** Whatever is there, until the batch is full. */
  const fill = async (batch: Message[]): Promise<void> => {
    while (batch.length < spec.batch) {
      const more = await receive(spec.batch - batch.length, 0)
      if (more.length === 0) return
      batch.push(...more)
    }
  }

  const collect = async (): Promise<Message[]> => {
    const batch = await receive(spec.batch, LONG_POLL)
    if (batch.length === 0) return batch
    await fill(batch)
    if (batch.length < spec.batch && spec.window) {
      await sleep(spec.window * 1000, undefined, { signal: stopping.signal })
      await fill(batch)
    }
    return batch
  }

  const hide = (messages: readonly Message[], seconds: (message: Message) => number) =>
    inBatches(messages, Entries =>
      client.send(
        new ChangeMessageVisibilityBatchCommand({
          QueueUrl: url,
          Entries: Entries.map((message, n) => ({
            Id: `${n}`,
            ReceiptHandle: message.ReceiptHandle,
            VisibilityTimeout: seconds(message),
          })),
        }),
      ),
    )

  const remove = (messages: readonly Message[]) =>
    inBatches(messages, Entries =>
      client.send(
        new DeleteMessageBatchCommand({
          QueueUrl: url,
          Entries: Entries.map(({ ReceiptHandle }, n) => ({ Id: `${n}`, ReceiptHandle })),
        }),
      ),
    )

  const attempt = (message: Message): number => Number(message.Attributes?.ApproximateReceiveCount ?? 1)

  const take = async (batch: readonly Message[]): Promise<void> => {
    const unfinished = (cause: unknown) => log('error', 'queue can not be reached', { queue, cause })
    const renewal = setInterval(() => void hide(batch, () => HIDDEN).catch(unfinished), (HIDDEN * 1000) / 2)
    let failed: readonly Message[] = batch
    try {
      failed = failedOf(batch, await invoke(queue, run, sqsEvent(queue, batch), spec.run))
    } catch (cause) {
      log('error', 'run failed', { queue, messages: batch.length, cause })
    } finally {
      clearInterval(renewal)
    }
    try {
      await remove(batch.filter(message => !failed.includes(message)))
      await hide(failed, message => Math.min(RETRY * 2 ** (attempt(message) - 1), MAX_RETRY))
      for (const message of failed)
        if (attempt(message) >= spec.attempts)
          log('error', 'message given up', { queue, message: message.MessageId, attempts: spec.attempts })
    } catch (cause) {
      unfinished(cause)
    }
  }

  const poll = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      while (runs.size >= concurrency) await Promise.race(runs)
      try {
        const batch = await collect()
        if (batch.length === 0) continue
        const begun: Promise<void> = take(batch).finally(() => runs.delete(begun))
        runs.add(begun)
      } catch (cause) {
        if (stopping.signal.aborted) break
        log('error', 'queue can not be reached', { queue, cause })
        await sleep(1000, undefined, { signal: stopping.signal }).catch(() => {})
      }
    }
    await Promise.all(runs)
  }

  const polling = poll()
  return {
    stop: () => {
      stopping.abort()
      return polling
    },
  }
}

const inBatches = async <T>(items: readonly T[], send: (batch: readonly T[]) => Promise<unknown>) => {
  for (let at = 0; at < items.length; at += SQS_BATCH) await send(items.slice(at, at + SQS_BATCH))
}
