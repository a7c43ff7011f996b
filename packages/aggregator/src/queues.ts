import {
  concludeMessage,
  type MessageFormats,
  type MessageOf,
  messageFormat,
  orderedFormat,
  type QueuesOf,
  translateMessage,
} from '@w3filecoin/runtime'
import * as z from 'zod'
import type { resources } from './resources.ts'

/**
 * "Add this piece to the list of its group." Only for pieces that earlier code recorded as `offered`.
 *
 * @example { "v": 1, "id": "kD3…" }
 */
export const pieceMessage = messageFormat(z.object({ id: z.string() }))
export type PieceMessage = MessageOf<typeof pieceMessage>

/**
 * "Seal this group if its pending pieces make an aggregate." Messages of one group are handled one after the other.
 * `id` names the reason: of messages with the same group and reason, sent within five minutes, SQS delivers one. With
 * `belowMinimum`, an operator has it sealed at once with the pieces that it has.
 *
 * @example { "v": 1, "group": "kD3…", "id": "full-4" }
 * @example { "v": 1, "group": "kD3…", "id": "ops-1767225600000", "belowMinimum": true }
 */
export const sealMessage = orderedFormat(
  z.object({ group: z.string(), id: z.string(), belowMinimum: z.boolean().optional() }),
  { group: ({ group }) => group, id: ({ group, id }) => `${group}-${id}` },
)
export type SealMessage = MessageOf<typeof sealMessage>

/**
 * "Issue the receipts of this range of an aggregate's pieces."
 *
 * @example { "v": 1, "aggregate": "Qm2…", "range": 0 }
 */
export const includeMessage = messageFormat(z.object({ aggregate: z.string(), range: z.number().int() }))
export type IncludeMessage = MessageOf<typeof includeMessage>

/**
 * "Get this aggregate into a deal": offer it to the dealer, or fetch the outcome if it was offered.
 *
 * @example { "v": 1, "aggregate": "Qm2…" }
 */
export const dealMessage = messageFormat(z.object({ aggregate: z.string() }))
export type DealMessage = MessageOf<typeof dealMessage>

/** The messages of each queue. */
export const messages = {
  piece: pieceMessage,
  seal: sealMessage,
  include: includeMessage,
  deal: dealMessage,
  conclude: concludeMessage,
  translate: translateMessage,
} satisfies MessageFormats<typeof resources>

export type Queues = QueuesOf<typeof messages>
