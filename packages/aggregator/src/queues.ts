import {
  concludeMessage,
  type MessageFormats,
  type MessageOf,
  messageFormat,
  orderedFormat,
  type QueuesOf,
} from '@w3filecoin/runtime'
import { z } from 'zod'
import type { resources } from './resources.ts'

/** "Put this piece into the list of its group." */
export const pieceMessage = messageFormat(z.object({ id: z.string() }))
export type PieceMessage = MessageOf<typeof pieceMessage>

/**
 * "Seal this group if its pending pieces make an aggregate." One group is sealed at a time. `id` names the occasion, and
 * the same occasion is one message.
 *
 * @example { "v": 1, "group": "kD3…", "id": "full-4" }
 */
export const sealMessage = orderedFormat(z.object({ group: z.string(), id: z.string() }), {
  group: ({ group }) => group,
  id: ({ group, id }) => `${group}-${id}`,
})
export type SealMessage = MessageOf<typeof sealMessage>

/** "Issue the receipts of this range of an aggregate's pieces." */
export const includeMessage = messageFormat(z.object({ aggregate: z.string(), range: z.number().int() }))
export type IncludeMessage = MessageOf<typeof includeMessage>

/** "Get this aggregate into a deal": offer it to the dealer, or ask for the outcome if it was offered. */
export const dealMessage = messageFormat(z.object({ aggregate: z.string() }))
export type DealMessage = MessageOf<typeof dealMessage>

/** The messages of each queue. */
export const messages = {
  piece: pieceMessage,
  seal: sealMessage,
  include: includeMessage,
  deal: dealMessage,
  conclude: concludeMessage,
} satisfies MessageFormats<typeof resources>

export type Queues = QueuesOf<typeof messages>
