import { type MessageFormats, type MessageOf, messageFormat, type QueuesOf } from '@w3filecoin/runtime'
import { z } from 'zod'
import type { resources } from './resources.ts'

/** "Read the content of this piece, and check that it hashes to the piece." */
export const submitMessage = messageFormat(z.object({ id: z.string() }))
export type SubmitMessage = MessageOf<typeof submitMessage>

/** "Get this piece into an aggregate": offer it to the aggregator, or ask how that stands if it was offered. */
export const aggregationMessage = messageFormat(z.object({ id: z.string() }))
export type AggregationMessage = MessageOf<typeof aggregationMessage>

/**
 * "Settle these pieces with the outcome of their aggregate", or a shard of all its pieces; or with neither, "find out the
 * outcome of this aggregate".
 *
 * @example { "v": 1, "aggregate": "kD3…", "shard": 7 }
 */
export const outcomeMessage = messageFormat(
  z.union([
    z.object({ aggregate: z.string(), pieces: z.array(z.string()).min(1) }),
    z.object({ aggregate: z.string(), shard: z.number().int(), after: z.string().optional() }),
    z.strictObject({ aggregate: z.string() }),
  ]),
)
export type OutcomeMessage = MessageOf<typeof outcomeMessage>

/** The messages of each queue. */
export const messages = {
  submit: submitMessage,
  aggregation: aggregationMessage,
  outcome: outcomeMessage,
} satisfies MessageFormats<typeof resources>

export type Queues = QueuesOf<typeof messages>
