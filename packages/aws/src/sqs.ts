import { SendMessageBatchCommand, type SQSClient } from '@aws-sdk/client-sqs'
import { batchesOf, type Queue } from '@w3filecoin/runtime'
import pMap from 'p-map'

/** The most messages that SQS takes in one call. */
const BATCH = 10
const PARALLEL = 8

/**
 * For a FIFO queue: the group whose messages come one after the other, and what a message *is*. Two messages of the
 * same id within five minutes are one.
 */
export interface SqsFifo<M> {
  group: (message: M) => string
  id: (message: M) => string
}

interface SqsQueueOptions<M> {
  client: SQSClient
  /** Asked for at the first use. */
  url: () => string
  fifo?: SqsFifo<M> | undefined
}

/** A queue in SQS; messages are JSON. */
export class SqsQueue<M> implements Queue<M> {
  readonly #client: SQSClient
  readonly #url: () => string
  readonly #fifo: SqsQueueOptions<M>['fifo']

  constructor({ client, url, fifo }: SqsQueueOptions<M>) {
    this.#client = client
    this.#url = url
    this.#fifo = fifo
  }

  async send(messages: readonly M[], { delaySeconds }: { delaySeconds?: number } = {}): Promise<void> {
    await pMap(
      batchesOf(messages, BATCH),
      async batch => {
        const { Failed = [] } = await this.#client.send(
          new SendMessageBatchCommand({
            QueueUrl: this.#url(),
            Entries: batch.map((message, n) => ({
              Id: `${n}`,
              MessageBody: JSON.stringify(message),
              ...(delaySeconds === undefined ? {} : { DelaySeconds: delaySeconds }),
              ...(this.#fifo && {
                MessageGroupId: this.#fifo.group(message),
                MessageDeduplicationId: this.#fifo.id(message),
              }),
            })),
          }),
        )
        const [first] = Failed
        if (first)
          throw new Error(
            `${Failed.length} messages were not taken by ${this.#url()}: ${first.Code} ${first.Message}`,
          )
      },
      { concurrency: PARALLEL },
    )
  }
}
