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

/** Concurrent runs of a queue's function, also where AWS allows more: this is one machine. */
const MAX_RUNS = 4
/** Messages in one call of SQS. */
const MAX_SQS_BATCH = 10
/** A call waits this long for messages. */
const LONG_POLL_SECONDS = 20
/**
 * Messages are hidden for this long while a run handles them, renewed until the run ends. On AWS it is the queue's
 * visibility timeout, which would delay the retry after a crash for minutes.
 */
const HIDDEN_SECONDS = 20
/**
 * Messages of a run that crashed are retried after this, doubled at each attempt, up to a maximum. Of a run that ended, the
 * function itself has set the pause of each failed message, as on AWS.
 */
const CRASH_RETRY_SECONDS = 1
const MAX_CRASH_RETRY_SECONDS = 30

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
 * The event source of a queue, as on Lambda: collects a batch, runs the function, and deletes the handled messages. It leaves
 * the failed ones: SQS delivers them again when they are no longer hidden. The window of a batch begins with the previous
 * batch: a single message after a pause is handled at once, and a stream of messages in one batch per window. (On Lambda, each
 * batch waits for its window.) If the function itself did not send a message to the dead-letter queue after its last attempt,
 * SQS does.
 */
export const pollQueue = ({ client, queue, url, spec, run, log }: QueueSourceOptions): EventSource => {
  const stopping = new AbortController()
  const runs = new Set<Promise<void>>()
  const concurrency = Math.min(spec.concurrency, MAX_RUNS)

  const receive = async (max: number, waitSeconds: number): Promise<Message[]> => {
    const { Messages = [] } = await client.send(
      new ReceiveMessageCommand({
        QueueUrl: url,
        MaxNumberOfMessages: Math.min(max, MAX_SQS_BATCH),
        WaitTimeSeconds: waitSeconds,
        VisibilityTimeout: HIDDEN_SECONDS,
        MessageSystemAttributeNames: ['All'],
      }),
      { abortSignal: stopping.signal },
    )
    return Messages
  }

  /** Adds available messages until the batch is full. */
  const fill = async (batch: Message[]): Promise<void> => {
    while (batch.length < spec.batch) {
      const more = await receive(spec.batch - batch.length, 0)
      if (more.length === 0) return
      batch.push(...more)
    }
  }

  /** When the last batch was complete. */
  let collectedAt = -Infinity

  const collect = async (): Promise<Message[]> => {
    const batch = await receive(spec.batch, LONG_POLL_SECONDS)
    if (batch.length === 0) return batch
    await fill(batch)
    const waitMs = collectedAt + (spec.window ?? 0) * 1000 - performance.now()
    if (batch.length < spec.batch && waitMs > 0) {
      await sleep(waitMs, undefined, { signal: stopping.signal })
      await fill(batch)
    }
    collectedAt = performance.now()
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
    const logUnreachable = (cause: unknown) => log('error', 'queue unreachable', { queue, cause })
    const renewal = setInterval(
      () => void hide(batch, () => HIDDEN_SECONDS).catch(logUnreachable),
      (HIDDEN_SECONDS * 1000) / 2,
    )
    let failed: readonly Message[] = batch
    let crashed = false
    try {
      failed = failedOf(batch, await invoke(queue, run, sqsEvent(queue, batch), spec.run))
    } catch (cause) {
      crashed = true
      log('error', 'run failed', { queue, messages: batch.length, cause })
    } finally {
      clearInterval(renewal)
    }
    try {
      await remove(batch.filter(message => !failed.includes(message)))
      if (crashed)
        await hide(failed, message =>
          Math.min(CRASH_RETRY_SECONDS * 2 ** (attempt(message) - 1), MAX_CRASH_RETRY_SECONDS),
        )
      for (const message of failed)
        if (attempt(message) >= spec.attempts)
          log('error', 'message given up', { queue, message: message.MessageId, attempts: spec.attempts })
    } catch (cause) {
      logUnreachable(cause)
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
        log('error', 'queue unreachable', { queue, cause })
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
  for (let at = 0; at < items.length; at += MAX_SQS_BATCH) await send(items.slice(at, at + MAX_SQS_BATCH))
}
