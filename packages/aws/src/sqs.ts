import { SendMessageBatchCommand, type SQSClient } from '@aws-sdk/client-sqs'
import { batchesOf, type MessageOrder, type Queue } from '@w3filecoin/runtime'
import pMap from 'p-map'

/** SQS's limit for the messages of one call. */
const MAX_BATCH_MESSAGES = 10
/** The greatest number of parallel calls in one `send`. */
const MAX_PARALLEL_CALLS = 8

interface SqsQueueOptions<M> {
  client: SQSClient
  /** Called on each use: the environment of a function names only the queues that it uses. */
  url: () => string
  /** Required for a FIFO queue. */
  order?: MessageOrder<M> | undefined
}

/** A queue in SQS. A message body is the JSON of the message. */
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
      batchesOf(messages, MAX_BATCH_MESSAGES),
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
            `${this.#url()} did not accept ${Failed.length} messages: ${first.Code} ${first.Message}`,
          )
      },
      { concurrency: MAX_PARALLEL_CALLS },
    )
  }
}
