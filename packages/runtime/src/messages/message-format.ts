import type * as z from 'zod'
import type { MessageOrder } from '../ports.ts'

/**
 * How the messages of one queue are written: as JSON, with the version of the format as `v`. Messages without `v` were sent
 * before formats had versions: they have version 1.
 *
 * @example The body of a `seal` message, which has the aggregator seal a group: `{"v":1,"group":"kD3…","id":"full-4"}`
 */
export interface MessageFormat<M> {
  version: number
  encode(message: M): object
  /** Throws if the body has another format or a later version; SQS then delivers the message again. */
  decode(body: unknown): M
  /** Required for a FIFO queue. */
  order?: MessageOrder<M>
}

/** The format of a FIFO queue's messages. */
export interface OrderedFormat<M> extends MessageFormat<M> {
  order: MessageOrder<M>
}

/** The format of a standard queue's messages. */
export interface UnorderedFormat<M> extends MessageFormat<M> {
  order?: never
}

/** Defines the format of a standard queue's messages. */
export const messageFormat = <S extends z.ZodType<object>>(
  schema: S,
  { version = 1 }: { version?: number } = {},
): UnorderedFormat<z.infer<S>> => ({
  version,
  encode: message => ({ v: version, ...message }),
  decode: body => {
    const { v = 1, ...message } = Object(body)
    if (Number(v) > version)
      throw new Error(
        `The message has version ${v}, and this code reads versions up to ${version}: a later version of the service sent it`,
      )
    return schema.parse(message)
  },
})

/** Defines the format of a FIFO queue's messages. */
export const orderedFormat = <S extends z.ZodType<object>>(
  schema: S,
  order: MessageOrder<z.infer<S>>,
): OrderedFormat<z.infer<S>> => ({ ...messageFormat(schema), order })

/** The type of a format's messages. */
// biome-ignore lint/suspicious/noExplicitAny: infers the message of any format
export type MessageOf<F> = F extends MessageFormat<any> ? ReturnType<F['decode']> : never
