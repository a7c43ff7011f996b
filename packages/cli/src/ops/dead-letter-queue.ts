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

/** A message that was given up. */
export interface DeadLetter {
  /** Id of the message that it was, by which the logs know it. */
  message: string
  /** What this letter is, once for every time that the message was given up. */
  id: string
  body: string
  /** When it was sent first, in milliseconds since 1970. */
  sentAt: number
  /** Why and where it was given up. Absent where SQS moved it by itself. */
  postMortem: PostMortem | undefined
  /** For who has received it. */
  receipt: string
  /** In a FIFO queue. */
  group: string | undefined
}

interface DeadLetterQueueOptions {
  client: Pick<SQSClient, 'send'>
  url: string
  /** The queue that its letters come from. */
  work: string
}

/** The most messages that SQS gives or takes in one call. */
const BATCH = 10
/** Seconds that a letter is hidden from others while it is looked at; should that be cut short, it is seen again then. */
const HIDDEN = 60
/** Seconds until others see it that was only looked at. */
const SEEN_AGAIN = 1
/** Seconds to wait for letters; SQS asks all of its servers then. */
const WAIT = 1

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

  /** How many letters there are, as far as SQS knows. */
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

  /** Takes up to so many letters, which nobody else sees for a while, a few at a time. */
  async *take(most: number): AsyncGenerator<DeadLetter[]> {
    const seen = new Set<string>()
    while (seen.size < most) {
      const { Messages = [] } = await this.#client.send(
        new ReceiveMessageCommand({
          QueueUrl: this.#url,
          MaxNumberOfMessages: Math.min(BATCH, most - seen.size),
          WaitTimeSeconds: WAIT,
          VisibilityTimeout: HIDDEN,
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

  /** Has others see letters again that were only looked at. */
  async release(letters: readonly DeadLetter[]): Promise<void> {
    for (let at = 0; at < letters.length; at += BATCH)
      await this.#client.send(
        new ChangeMessageVisibilityBatchCommand({
          QueueUrl: this.#url,
          Entries: letters.slice(at, at + BATCH).map(({ receipt }, n) => ({
            Id: `${n}`,
            ReceiptHandle: receipt,
            VisibilityTimeout: SEEN_AGAIN,
          })),
        }),
      )
  }

  /**
   * Sends a letter to its queue again, then removes it here: cut in between, it is sent once more by the next who comes,
   * and a message may come twice. Returns the id of the message that it is now.
   */
  async sendBack({ id, body, group, receipt }: DeadLetter): Promise<string> {
    const { MessageId } = await this.#client.send(
      new SendMessageCommand({
        QueueUrl: this.#work,
        MessageBody: body,
        // Not what the message had: within five minutes that would be a message that is known already.
        ...(group && { MessageGroupId: group, MessageDeduplicationId: id }),
      }),
    )
    await this.#client.send(new DeleteMessageCommand({ QueueUrl: this.#url, ReceiptHandle: receipt }))
    return MessageId as string
  }
}

const letterOf = ({ MessageId, Body, Attributes, MessageAttributes, ReceiptHandle }: Message): DeadLetter => {
  const postMortem = readPostMortem(MessageAttributes)
  return {
    message: postMortem?.message ?? (MessageId as string),
    id: `${MessageId}-${Attributes?.SentTimestamp}`,
    body: Body as string,
    sentAt: postMortem?.sentAt ?? Number(Attributes?.SentTimestamp),
    postMortem,
    receipt: ReceiptHandle as string,
    group: Attributes?.MessageGroupId,
  }
}
