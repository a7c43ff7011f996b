import type { Failure } from '@w3filecoin/capabilities'
import pMap from 'p-map'

/** Whether a message is done with, or why it is to come again. */
export type Taken = { ok: object; error?: undefined } | { ok?: undefined; error: Failure | Error }

/**
 * What a service does with the messages of one queue: "On …, do …". Answers for each message, in order. A message
 * that is not done with comes again after its visibility timeout, and goes to the dead-letter queue after the
 * queue's number of attempts.
 */
export interface Consumer<M> {
  /** Reads a message's body; throws on what is no message of this queue. */
  decode(body: unknown): M
  take(messages: readonly M[]): Promise<Taken[]>
}

export const DONE: Taken = { ok: {} }

/** A consumer that takes messages one by one, some at a time. What it throws is the reason to try again. */
export const each = <M>(
  decode: (body: unknown) => M,
  take: (message: M) => Promise<Taken>,
  { concurrency = 10 }: { concurrency?: number } = {},
): Consumer<M> => ({
  decode,
  take: messages => pMap(messages, message => settled(() => take(message)), { concurrency }),
})

/** Turns what is thrown into a reason to try again. */
export const settled = async (take: () => Promise<Taken>): Promise<Taken> => {
  try {
    return await take()
  } catch (cause) {
    return { error: cause instanceof Error ? cause : new Error(`${cause}`) }
  }
}
