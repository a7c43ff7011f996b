import { type MessageAttributeValue, SendMessageCommand, type SQSClient } from '@aws-sdk/client-sqs'
import type { Failure } from '@w3filecoin/runtime'
import type { SQSRecord } from 'aws-lambda'
import { z } from 'zod'

/**
 * A message that was tried too often is put into the dead-letter queue of its queue by the function itself, with the
 * reason, so that people need not look for it in logs. The body stays as it is, byte for byte.
 */
export const postMortemSchema = z.object({
  service: z.string(),
  queue: z.string(),
  /** Id of the message in its queue, by which the logs know it. */
  message: z.string(),
  attempts: z.number(),
  /** When it was sent first, in milliseconds since 1970. */
  sentAt: z.number(),
  /** What went wrong, then what caused that, and so on. */
  reason: z.array(z.object({ name: z.string(), message: z.string() })).min(1),
  /** The line of our code where it went wrong. What is answered, and not thrown, has none. */
  at: z.string().optional(),
})
export type PostMortem = z.infer<typeof postMortemSchema>

/** The attribute of a dead letter that holds its post-mortem. */
const ATTRIBUTE = 'PostMortem'

/** Bounds of a post-mortem, which counts towards the size of the message. */
const MAX_CAUSES = 5
const MAX_TEXT_CHARACTERS = 1000

/** The dead-letter queue of a queue. */
export interface DeadLetters {
  /** How often a message is tried before it belongs here. */
  attempts: number
  put(record: SQSRecord, reason: Failure | Error): Promise<void>
}

interface SqsDeadLettersOptions {
  client: SQSClient
  service: string
  queue: string
  attempts: number
  /** Asked for at the first use. */
  url: () => string
}

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
    const at = placeOf(reason)
    const postMortem: PostMortem = {
      service,
      queue,
      message: messageId,
      attempts: Number(attributes.ApproximateReceiveCount),
      sentAt: Number(attributes.SentTimestamp),
      reason: causesOf(reason),
      ...(at === undefined ? {} : { at }),
    }
    await client.send(
      new SendMessageCommand({
        QueueUrl: url(),
        MessageBody: body,
        MessageAttributes: { [ATTRIBUTE]: { DataType: 'String', StringValue: asciiJson(postMortem) } },
        ...(MessageGroupId && { MessageGroupId, MessageDeduplicationId: messageId }),
      }),
    )
  }
}

/**
 * The post-mortem of a dead letter. `undefined` where there is none that can be read: SQS itself moved the message,
 * because the function had no chance to.
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

const causesOf = (reason: Failure | Error): PostMortem['reason'] => {
  const causes: PostMortem['reason'] = []
  for (let cause: unknown = reason; causes.length < MAX_CAUSES && isFailure(cause); cause = cause.cause)
    causes.push({
      name: shorten(cause.name),
      // Its message is JSON of some lines for each fault.
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

/** The first line of the stack that is neither Node's nor a dependency's: `onSeal (packages/…/seal.ts:12:3)`. */
const placeOf = (reason: Failure | Error): string | undefined => {
  if (!(reason instanceof Error)) return undefined
  const line = reason.stack
    ?.split('\n')
    .find(line => /^\s+at /.test(line) && !/node:|node_modules|<anonymous>/.test(line))
  const place = line
    ?.trim()
    .replace(/^at /, '')
    .replace(/^.* \[as (\S+)\]/, '$1')
    .replace(/(?:file:\/\/)?\/\S*\/(?=packages\/)/, '')
  return place && shorten(place)
}

/** JSON of ASCII only: an attribute takes fewer characters than a message of an error may have. */
const asciiJson = (value: object): string =>
  JSON.stringify(value).replaceAll(
    /[^ -~]/g,
    character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
