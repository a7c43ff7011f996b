import { type MessageFormats, type MessageOf, messageFormat, type QueuesOf } from '@w3filecoin/runtime'
import { z } from 'zod'
import type { resources } from './resources.ts'

/**
 * "Read the content of this piece, and check that it hashes to the piece."
 *
 * @example { "v": 1, "id": "kD3…" }
 */
export const submitMessage = messageFormat(z.object({ id: z.string() }))
export type SubmitMessage = MessageOf<typeof submitMessage>

/**
 * "Get this piece into an aggregate": offer it to the aggregator, or fetch the receipt if it was offered already.
 *
 * @example { "v": 1, "id": "kD3…" }
 */
export const aggregationMessage = messageFormat(z.object({ id: z.string() }))
export type AggregationMessage = MessageOf<typeof aggregationMessage>

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

/** The message format of each queue. */
export const messages = {
  submit: submitMessage,
  aggregation: aggregationMessage,
  outcome: outcomeMessage,
} satisfies MessageFormats<typeof resources>

export type Queues = QueuesOf<typeof messages>
