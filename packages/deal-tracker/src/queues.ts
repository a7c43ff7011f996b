import { type MessageFormats, type MessageOf, messageFormat, type QueuesOf } from '@w3filecoin/runtime'
import { z } from 'zod'
import type { resources } from './resources.ts'

/** "Write this range of the deals that a run of a source changed." `changes` is the CID of the run's list of ranges. */
export const updateMessage = messageFormat(
  z.object({ source: z.string(), changes: z.string(), range: z.number().int() }),
)
export type UpdateMessage = MessageOf<typeof updateMessage>

/** The messages of each queue. */
export const messages = { update: updateMessage } satisfies MessageFormats<typeof resources>

export type Queues = QueuesOf<typeof messages>
