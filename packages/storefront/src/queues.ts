import {
  type MessageFormats,
  type MessageOf,
  messageFormat,
  type QueuesOf,
  translateMessage,
} from '@w3filecoin/runtime'
import * as z from 'zod'
import type { resources } from './resources.ts'

/**
 * "Read the content of this piece, and check that it hashes to the piece."
 *
 * @example { "v": 1, "id": "kD3…" }
 */
export const submitMessage = messageFormat(z.object({ id: z.string() }))
export type SubmitMessage = MessageOf<typeof submitMessage>

/**
 * "Get this piece into an aggregate": offer it to the aggregator, or fetch the answer to the offer of the dealer.
 *
 * @example { "v": 1, "id": "kD3…" }
 */
export const aggregationMessage = messageFormat(z.object({ id: z.string() }))
export type AggregationMessage = MessageOf<typeof aggregationMessage>

/**
 * "Ask the aggregator whether queued pieces are in an aggregate": of a group, of one shard of it (`all`: of the whole shard),
 * or single pieces by their record keys.
 *
 * @example { "v": 1, "group": "did:web:example.com" }
 * @example { "v": 1, "group": "did:web:example.com", "shard": 7, "all": true }
 * @example { "v": 1, "pieces": ["kD3…"] }
 */
export const pollMessage = messageFormat(
  z.union([
    z.object({ pieces: z.array(z.string()).min(1).max(50) }),
    z.object({
      group: z.string(),
      shard: z.number().int(),
      after: z.string().optional(),
      all: z.boolean().optional(),
    }),
    z.strictObject({ group: z.string() }),
  ]),
)
export type PollMessage = MessageOf<typeof pollMessage>

/**
 * "Settle these pieces", or one shard of all pieces, "with the outcome of their aggregate". Without pieces and shard: "fetch the
 * outcome of this aggregate". Contains record keys, not CIDs.
 *
 * @example { "v": 1, "aggregate": "kD3…", "pieces": ["pX0…"] }
 * @example { "v": 1, "aggregate": "kD3…", "shard": 7 }
 * @example { "v": 1, "aggregate": "kD3…" }
 */
export const outcomeMessage = messageFormat(
  z.union([
    z.object({ aggregate: z.string(), pieces: z.array(z.string()).min(1) }),
    z.object({ aggregate: z.string(), shard: z.number().int(), after: z.string().optional() }),
    z.strictObject({ aggregate: z.string() }),
  ]),
)
export type OutcomeMessage = MessageOf<typeof outcomeMessage>

/**
 * "Deliver the receipt of a workflow to this address, if there is one."
 *
 * @example { "v": 1, "id": "kD3…" }
 */
export const notifyMessage = messageFormat(z.object({ id: z.string() }))
export type NotifyMessage = MessageOf<typeof notifyMessage>

/** The message format of each queue. */
export const messages = {
  submit: submitMessage,
  aggregation: aggregationMessage,
  poll: pollMessage,
  outcome: outcomeMessage,
  notify: notifyMessage,
  translate: translateMessage,
} satisfies MessageFormats<typeof resources>

export type Queues = QueuesOf<typeof messages>
