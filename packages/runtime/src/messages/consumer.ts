import type { Failure } from '@w3filecoin/capabilities'
import pMap from 'p-map'
import type { MessageFormat } from './message-format.ts'

/** The result for one message: handled, or the reason to deliver it again. */
export type Handled = { ok: object; error?: undefined } | { ok?: undefined; error: Failure | Error }

/**
 * Handles the messages of one queue. SQS delivers a failed message again after its visibility timeout, and it goes to the
 * dead-letter queue after the queue's number of attempts.
 */
export interface Consumer<M> {
  /** Reads the body of a message. Throws if it is not a message of this queue. */
  decode(body: unknown): M
  /** Returns one result per message, in the same order. */
  handle(messages: readonly M[]): Promise<Handled[]>
}

/** The result for a message that was handled. */
export const DONE: Handled = { ok: {} }

/** Returns a consumer that calls `handle` for each message. An error that it throws is the reason to deliver the message again. */
export const each = <M>(
  { decode }: Pick<MessageFormat<M>, 'decode'>,
  handle: (message: M) => Promise<Handled>,
  { concurrency = 10 }: { concurrency?: number } = {},
): Consumer<M> => ({
  decode,
  handle: messages => pMap(messages, message => catchErrors(() => handle(message)), { concurrency }),
})

/** Calls `handle`, and returns an error that it throws as the reason to deliver the message again. */
export const catchErrors = async (handle: () => Promise<Handled>): Promise<Handled> => {
  try {
    return await handle()
  } catch (cause) {
    return { error: cause instanceof Error ? cause : new Error(`${cause}`) }
  }
}
