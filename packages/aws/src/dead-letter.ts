import {
  type BatchResultErrorEntry,
  ChangeMessageVisibilityBatchCommand,
  type MessageAttributeValue,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs'
import { batchesOf, type Failure } from '@w3filecoin/runtime'
import type { SQSRecord } from 'aws-lambda'
import * as z from 'zod'

/**
 * The post-mortem of a dead letter. After the last attempt of a message, the function itself sends the message to the
 * dead-letter queue, with its body unchanged and this as JSON in the message attribute `PostMortem`. So operators find the
 * reason without searching logs.
 *
 * @example
 *
 *     {
 *       "service": "storefront",
 *       "queue": "submit",
 *       "message": "059f36b4-87a3-44ab-83d2-661975830a7d",
 *       "attempts": 5,
 *       "sentAt": 1733306400000,
 *       "reason": [
 *         { "name": "Error", "message": "The block bafy… is damaged: its bytes do not hash to its CID" }
 *       ],
 *       "at": "S3Blocks.get (packages/aws/src/s3.ts:48:69)"
 *     }
 */
export const postMortemSchema = z.object({
  service: z.string(),
  queue: z.string(),
  /** Id of the message in its queue, as in the logs. */
  message: z.string(),
  /** The number of attempts. */
  attempts: z.number(),
  /** Time at which the message was sent first, in milliseconds since 1970. */
  sentAt: z.number(),
  /** The error, followed by its causes. At most 5. */
  reason: z.array(z.object({ name: z.string(), message: z.string() })).min(1),
  /** The topmost line of this repository in the stack. Absent if the consumer returned the error instead of throwing it. */
  at: z.string().optional(),
})
export type PostMortem = z.infer<typeof postMortemSchema>

/** The message attribute of a dead letter that holds its post-mortem. */
const ATTRIBUTE = 'PostMortem'

/** Bounds of a post-mortem: SQS counts message attributes towards the size of the message. */
const MAX_CAUSES = 5
const MAX_TEXT_CHARACTERS = 1000

/** SQS's limit for the messages of one call. */
const MAX_BATCH_MESSAGES = 10

/** The pause before a redelivery is this many times as long as the pause before. */
const PAUSE_FACTOR = 4
const MAX_PAUSE_SECONDS = 900

/**
 * Returns the seconds from a failed attempt to the next one, which SQS takes as a whole number.
 *
 * @param attempt number of the attempt that failed, from 1
 * @param firstSeconds the pause after the first attempt
 * @example [1, 2, 3, 4, 5].map(attempt => pauseAfter(attempt, 10)) // [10, 40, 160, 640, 900]
 */
export const pauseAfter = (attempt: number, firstSeconds: number): number =>
  Math.ceil(Math.min(firstSeconds * PAUSE_FACTOR ** (attempt - 1), MAX_PAUSE_SECONDS))

/** The dead-letter queue of a queue, and the redelivery before it. */
export interface DeadLetters {
  /** The number of attempts after which a message is sent here. */
  attempts: number
  /** Sends a message here, with the post-mortem. Throws if SQS does not accept it. */
  put(record: SQSRecord, reason: Failure | Error): Promise<void>
  /**
   * Has SQS deliver failed messages again after a pause, instead of after the visibility timeout. The failed messages of a
   * FIFO group have the pause of the first one. Throws if SQS does not accept it for all of them.
   */
  postpone(records: readonly SQSRecord[]): Promise<void>
}

interface SqsDeadLettersOptions {
  client: SQSClient
  service: string
  queue: string
  attempts: number
  /** Pause before the first redelivery. If absent, SQS redelivers after the visibility timeout. */
  redeliverySeconds: number | undefined
  /** URLs of the dead-letter queue, and of the queue itself. Called on each use. */
  url: () => string
  workUrl: () => string
}

/** A dead-letter queue in SQS. */
export class SqsDeadLetters implements DeadLetters {
  readonly attempts: number
  readonly #options: SqsDeadLettersOptions

  constructor(options: SqsDeadLettersOptions) {
    this.attempts = options.attempts
    this.#options = options
  }

  async put(
    { messageId, body, attributes: { MessageGroupId, ...attributes } }: SQSRecord,
    reason: Failure | Error,
  ): Promise<void> {
    const { client, service, queue, url } = this.#options
    const at = findPlace(reason)
    const postMortem: PostMortem = {
      service,
      queue,
      message: messageId,
      attempts: Number(attributes.ApproximateReceiveCount),
      sentAt: Number(attributes.SentTimestamp),
      reason: listCauses(reason),
      ...(at === undefined ? {} : { at }),
    }
    await client.send(
      new SendMessageCommand({
        QueueUrl: url(),
        MessageBody: body,
        MessageAttributes: { [ATTRIBUTE]: { DataType: 'String', StringValue: toAsciiJson(postMortem) } },
        ...(MessageGroupId && { MessageGroupId, MessageDeduplicationId: messageId }),
      }),
    )
  }

  async postpone(records: readonly SQSRecord[]): Promise<void> {
    const { client, redeliverySeconds, workUrl } = this.#options
    if (redeliverySeconds === undefined) return
    /** SQS delivers no message of a group while another one is hidden. Equal pauses end the wait of a group at once. */
    const pauseOfGroup = new Map<string, number>()
    const entries = records.map(({ receiptHandle, attributes }) => {
      const own = pauseAfter(Number(attributes.ApproximateReceiveCount), redeliverySeconds)
      const group = attributes.MessageGroupId
      const seconds = (group === undefined ? undefined : pauseOfGroup.get(group)) ?? own
      if (group !== undefined) pauseOfGroup.set(group, seconds)
      return { ReceiptHandle: receiptHandle, VisibilityTimeout: seconds }
    })
    const refused: BatchResultErrorEntry[] = []
    for (const batch of batchesOf(entries, MAX_BATCH_MESSAGES)) {
      const { Failed = [] } = await client.send(
        new ChangeMessageVisibilityBatchCommand({
          QueueUrl: workUrl(),
          Entries: batch.map((entry, n) => ({ Id: `${n}`, ...entry })),
        }),
      )
      refused.push(...Failed)
    }
    const [first] = refused
    if (first)
      throw new Error(
        `${workUrl()} did not accept the pause of ${refused.length} messages: ${first.Code} ${first.Message}`,
      )
  }
}

/**
 * Reads the post-mortem from the attributes of a dead letter. Returns `undefined` if there is none, because SQS itself moved
 * the message (e.g. after a timeout of the function), or if it is malformed.
 */
export const readPostMortem = (
  attributes: Record<string, MessageAttributeValue> | undefined,
): PostMortem | undefined => {
  const text = attributes?.[ATTRIBUTE]?.StringValue
  if (text === undefined) return undefined
  try {
    return postMortemSchema.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

const listCauses = (reason: Failure | Error): PostMortem['reason'] => {
  const causes: PostMortem['reason'] = []
  for (let cause: unknown = reason; causes.length < MAX_CAUSES && isFailure(cause); cause = cause.cause)
    causes.push({
      name: shorten(cause.name),
      // The message of a ZodError is JSON with several lines for each issue.
      message: shorten(cause instanceof z.ZodError ? z.prettifyError(cause) : cause.message),
    })
  return causes
}

const isFailure = (cause: unknown): cause is Failure =>
  typeof cause === 'object' &&
  cause !== null &&
  typeof (cause as Failure).name === 'string' &&
  typeof (cause as Failure).message === 'string'

const shorten = (text: string): string =>
  text.length > MAX_TEXT_CHARACTERS ? `${text.slice(0, MAX_TEXT_CHARACTERS - 1)}…` : text

/**
 * Returns the first line of the stack that is neither Node's nor a dependency's.
 *
 * @example `onSeal (packages/aggregator/src/consumers/seal.ts:12:3)`
 */
const findPlace = (reason: Failure | Error): string | undefined => {
  if (!(reason instanceof Error)) return undefined
  const line = reason.stack
    ?.split('\n')
    .find(line => /^\s+at /.test(line) && !/node:|node_modules|<anonymous>/.test(line))
  const place = line
    ?.trim()
    .replace(/^at /, '')
    .replace(/^.* \[as (\S+)\]/, '$1')
    .replace(/(?:file:\/\/)?\/(?:\S*\/)?(?=packages\/)/, '')
  return place && shorten(place)
}

/** Returns JSON in ASCII, because SQS does not accept every Unicode character in an attribute. */
const toAsciiJson = (value: object): string =>
  JSON.stringify(value).replaceAll(
    /[^ -~]/g,
    character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
