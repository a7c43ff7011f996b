import { SendMessageBatchCommand, type SQSClient } from '@aws-sdk/client-sqs'
import type { MessageOrder, Queue } from '@w3filecoin/runtime'
import pLimit from 'p-limit'

/** SQS's limit for the messages of one call. */
const MAX_BATCH_MESSAGES = 10
/** The greatest number of parallel calls of one queue. */
const MAX_PARALLEL_CALLS = 8
/** Time for which a message waits for others to share its call: handlers of one request send theirs at about the same time. */
const LINGER_MS = 5

interface SqsQueueOptions<M> {
  client: SQSClient
  /** Called on each use: the environment of a function names only the queues that it uses. */
  url: () => string
  /** Required for a FIFO queue. */
  order?: MessageOrder<M> | undefined
}

/** A message that waits for its call. */
interface Waiting<M> {
  message: M
  delaySeconds: number | undefined
  resolve: () => void
  reject: (reason: Error) => void
}

/**
 * A queue in SQS. A message body is the JSON of the message. Messages that are sent at about the same time share calls, because
 * each call is paid for.
 */
export class SqsQueue<M> implements Queue<M> {
  readonly #client: SQSClient
  readonly #url: () => string
  readonly #order: MessageOrder<M> | undefined
  readonly #calls = pLimit(MAX_PARALLEL_CALLS)
  #waiting: Waiting<M>[] = []

  constructor({ client, url, order }: SqsQueueOptions<M>) {
    this.#client = client
    this.#url = url
    this.#order = order
  }

  async send(messages: readonly M[], { delaySeconds }: { delaySeconds?: number } = {}): Promise<void> {
    await Promise.all(
      messages.map(
        message =>
          new Promise<void>((resolve, reject) => {
            this.#waiting.push({ message, delaySeconds, resolve, reject })
            if (this.#waiting.length === MAX_BATCH_MESSAGES) this.#flush()
            else if (this.#waiting.length === 1) setTimeout(() => this.#flush(), LINGER_MS)
          }),
      ),
    )
  }

  /** Sends the waiting messages: at most one batch. */
  #flush(): void {
    const batch = this.#waiting
    this.#waiting = []
    if (batch.length > 0) void this.#calls(() => this.#call(batch))
  }

  /** Sends a batch, and resolves or rejects the promise of each message. */
  async #call(batch: readonly Waiting<M>[]): Promise<void> {
    try {
      const { Failed = [] } = await this.#client.send(
        new SendMessageBatchCommand({
          QueueUrl: this.#url(),
          Entries: batch.map(({ message, delaySeconds }, n) => ({
            Id: `${n}`,
            MessageBody: JSON.stringify(message),
            ...(delaySeconds === undefined ? {} : { DelaySeconds: delaySeconds }),
            ...(this.#order && {
              MessageGroupId: this.#order.group(message),
              MessageDeduplicationId: this.#order.id(message),
            }),
          })),
        }),
      )
      for (const { Id, Code, Message } of Failed)
        batch[Number(Id)]?.reject(new Error(`${this.#url()} did not accept a message: ${Code} ${Message}`))
      for (const { resolve } of batch) resolve()
    } catch (cause) {
      for (const { reject } of batch) reject(cause as Error)
    }
  }
}
