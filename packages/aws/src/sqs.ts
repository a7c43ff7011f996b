import { SendMessageBatchCommand, type SQSClient } from '@aws-sdk/client-sqs'
import { batchesOf, type MessageOrder, type Queue } from '@w3filecoin/runtime'
import pMap from 'p-map'

/** The most messages that SQS takes in one call. */
const BATCH = 10
const PARALLEL = 8

interface SqsQueueOptions<M> {
  client: SQSClient
  /** Asked for at the first use. */
  url: () => string
  /** Required for a FIFO queue. */
  order?: MessageOrder<M> | undefined
}

/** A queue in SQS; messages are JSON. */
export class SqsQueue<M> implements Queue<M> {
  readonly #client: SQSClient
  readonly #url: () => string
  readonly #order: MessageOrder<M> | undefined

  constructor({ client, url, order }: SqsQueueOptions<M>) {
    this.#client = client
    this.#url = url
    this.#order = order
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
              ...(this.#order && {
                MessageGroupId: this.#order.group(message),
                MessageDeduplicationId: this.#order.id(message),
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
