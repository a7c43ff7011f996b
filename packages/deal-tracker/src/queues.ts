import { type MessageFormats, type MessageOf, messageFormat, type QueuesOf } from '@w3filecoin/runtime'
import * as z from 'zod'
import type { resources } from './resources.ts'

/**
 * Asks the consumer to write one range of the deals that a run changed. `changes` is the CID of the run's list of ranges
 * (`changesCid` in the source's record), and `range` an index in it.
 *
 * @example `{"v":1,"source":"spade","changes":"bafy…","range":0}`
 */
export const updateMessage = messageFormat(
  z.object({ source: z.string(), changes: z.string(), range: z.number().int() }),
)
export type UpdateMessage = MessageOf<typeof updateMessage>

/** The message format of each queue. */
export const messages = { update: updateMessage } satisfies MessageFormats<typeof resources>

export type Queues = QueuesOf<typeof messages>
