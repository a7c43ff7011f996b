import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  type Message,
  ReceiveMessageCommand,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs'
import { type PostMortem, readPostMortem } from '@w3filecoin/aws'

/** A message that failed all its attempts. */
export interface DeadLetter {
  /** Id of the message in its queue, which the logs have too. */
  message: string
  /** Id of the letter: a message that fails again becomes another letter. */
  id: string
  body: string
  /** Time of the first send, in milliseconds since 1970. */
  sentAt: number
  /** Reason and place of the last failure. Absent if SQS moved the message. */
  postMortem: PostMortem | undefined
  /** Receipt handle, for deleting the letter. */
  receipt: string
  /** Message group, in a FIFO queue. */
  group: string | undefined
  /** Everything that SQS returned, for a copy. */
  received: Message
}

interface DeadLetterQueueOptions {
  client: Pick<SQSClient, 'send'>
  url: string
  /** URL of the queue that the letters are sent back to. */
  work: string
}

/** Messages in one call of SQS. */
const MAX_BATCH = 10
/** Received letters are hidden from other receivers for this long, unless they are released before. */
const HIDDEN_SECONDS = 60
/** Released letters are visible again after this. */
const RELEASED_SECONDS = 1
/** A long poll, because it asks all servers of SQS. */
const WAIT_SECONDS = 1

/** The dead-letter queue of a queue. */
export class DeadLetterQueue {
  readonly #client: DeadLetterQueueOptions['client']
  readonly #url: string
  readonly #work: string

  constructor({ client, url, work }: DeadLetterQueueOptions) {
    this.#client = client
    this.#url = url
    this.#work = work
  }

  /** Returns the approximate number of letters, hidden ones included. */
  async count(): Promise<number> {
    const { Attributes = {} } = await this.#client.send(
      new GetQueueAttributesCommand({
        QueueUrl: this.#url,
        AttributeNames: ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible'],
      }),
    )
    return (
      Number(Attributes.ApproximateNumberOfMessages ?? 0) +
      Number(Attributes.ApproximateNumberOfMessagesNotVisible ?? 0)
    )
  }

  /** Receives up to `max` letters, a few at a time, and hides them from other receivers for a minute. */
  async *receive(max: number): AsyncGenerator<DeadLetter[]> {
    const seen = new Set<string>()
    while (seen.size < max) {
      const { Messages = [] } = await this.#client.send(
        new ReceiveMessageCommand({
          QueueUrl: this.#url,
          MaxNumberOfMessages: Math.min(MAX_BATCH, max - seen.size),
          WaitTimeSeconds: WAIT_SECONDS,
          VisibilityTimeout: HIDDEN_SECONDS,
          MessageAttributeNames: ['All'],
          MessageSystemAttributeNames: ['All'],
        }),
      )
      const letters = Messages.map(letterOf).filter(({ id }) => !seen.has(id))
      if (letters.length === 0) return
      for (const { id } of letters) seen.add(id)
      yield letters
    }
  }

  /** Makes received letters visible to other receivers again. */
  async release(letters: readonly DeadLetter[]): Promise<void> {
    for (let at = 0; at < letters.length; at += MAX_BATCH)
      await this.#client.send(
        new ChangeMessageVisibilityBatchCommand({
          QueueUrl: this.#url,
          Entries: letters.slice(at, at + MAX_BATCH).map(({ receipt }, n) => ({
            Id: `${n}`,
            ReceiptHandle: receipt,
            VisibilityTimeout: RELEASED_SECONDS,
          })),
        }),
      )
  }

  /**
   * Sends a letter back to its queue, then deletes it here. If that is interrupted in between, the next run sends it
   * again; duplicates do no harm. Returns the id of the new message.
   */
  async sendBack({ id, body, group, receipt }: DeadLetter): Promise<string> {
    const { MessageId } = await this.#client.send(
      new SendMessageCommand({
        QueueUrl: this.#work,
        MessageBody: body,
        // A new deduplication id: SQS drops a message whose id it saw within the last five minutes.
        ...(group && { MessageGroupId: group, MessageDeduplicationId: id }),
      }),
    )
    await this.remove({ receipt })
    return MessageId as string
  }

  /** Deletes a received letter. */
  async remove({ receipt }: Pick<DeadLetter, 'receipt'>): Promise<void> {
    await this.#client.send(new DeleteMessageCommand({ QueueUrl: this.#url, ReceiptHandle: receipt }))
  }
}

const letterOf = (received: Message): DeadLetter => {
  const { MessageId, Body, Attributes, MessageAttributes, ReceiptHandle } = received
  const postMortem = readPostMortem(MessageAttributes)
  return {
    message: postMortem?.message ?? (MessageId as string),
    id: `${MessageId}-${Attributes?.SentTimestamp}`,
    body: Body as string,
    sentAt: postMortem?.sentAt ?? Number(Attributes?.SentTimestamp),
    postMortem,
    receipt: ReceiptHandle as string,
    group: Attributes?.MessageGroupId,
    received,
  }
}
