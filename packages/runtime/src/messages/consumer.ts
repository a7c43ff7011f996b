import type { Failure } from '@w3filecoin/capabilities'
import pMap from 'p-map'
import type { MessageFormat } from './message-format.ts'

/** Whether a message is done with, or why it is to come again. */
export type Handled = { ok: object; error?: undefined } | { ok?: undefined; error: Failure | Error }

/**
 * What a service does with the messages of one queue: "On …, do …". Answers for each message, in order. A message
 * that is not done with comes again after its visibility timeout, and goes to the dead-letter queue after the
 * queue's number of attempts.
 */
export interface Consumer<M> {
  /** Reads a message's body; throws on what is no message of this queue. */
  decode(body: unknown): M
  handle(messages: readonly M[]): Promise<Handled[]>
}

export const DONE: Handled = { ok: {} }

/** A consumer that takes messages one by one, some at a time. What it throws is the reason to try again. */
export const each = <M>(
  { decode }: Pick<MessageFormat<M>, 'decode'>,
  handle: (message: M) => Promise<Handled>,
  { concurrency = 10 }: { concurrency?: number } = {},
): Consumer<M> => ({
  decode,
  handle: messages => pMap(messages, message => catchErrors(() => handle(message)), { concurrency }),
})

/** Turns what is thrown into a reason to try again. */
export const catchErrors = async (take: () => Promise<Handled>): Promise<Handled> => {
  try {
    return await take()
  } catch (cause) {
    return { error: cause instanceof Error ? cause : new Error(`${cause}`) }
  }
}
