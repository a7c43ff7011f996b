import {
  concludeMessage,
  type MessageFormats,
  type MessageOf,
  messageFormat,
  type QueuesOf,
  translateMessage,
} from '@w3filecoin/runtime'
import * as z from 'zod'
import { MAX_INVALID_PIECES } from './domain/aggregate.ts'
import type { resources } from './resources.ts'

/** Aggregates in one `track` message. */
export const MAX_TRACKED_AGGREGATES = 50

/**
 * "Ask the deal tracker about these aggregates."
 *
 * @example { "v": 1, "aggregates": ["kD3…", "Qm2…"] }
 */
export const trackMessage = messageFormat(
  z.object({ aggregates: z.array(z.string()).min(1).max(MAX_TRACKED_AGGREGATES) }),
)
export type TrackMessage = MessageOf<typeof trackMessage>

/**
 * "There will be no deal for this aggregate." Deal making sends it, `deal/report` does so for a broker, and `track` sends it when the aggregate has waited
 * too long. `offer` is the name of the offer document; `invalid` lists the invalid pieces, if any.
 *
 * @example { "offer": "bafkzci…/kD3….json", "message": "No provider accepted it" }
 * @example { "offer": "bafkzci…/kD3….json", "message": "One piece is invalid", "invalid": [{ "piece": "bafkzci…",
 * "message": "No content has this piece CID" }] }
 */
export const reportSchema = z.strictObject({
  offer: z.string().max(300),
  message: z.string().min(1).max(1000),
  invalid: z
    .array(z.strictObject({ piece: z.string().max(200), message: z.string().min(1).max(500) }))
    .max(MAX_INVALID_PIECES)
    .default([]),
})
export const reportMessage = messageFormat(reportSchema)
export type ReportMessage = MessageOf<typeof reportMessage>

/**
 * "Offer this range of a failed aggregate's pieces to the aggregator again."
 *
 * @example { "v": 1, "aggregate": "kD3…", "range": 0 }
 */
export const retryMessage = messageFormat(z.object({ aggregate: z.string(), range: z.number().int() }))
export type RetryMessage = MessageOf<typeof retryMessage>

/**
 * "Go on with the orders of this offer." It is the record id of the offered aggregate.
 *
 * @example { "v": 1, "offer": "kD3…" }
 */
export const orderMessage = messageFormat(z.object({ offer: z.string() }))
export type OrderMessage = MessageOf<typeof orderMessage>

/**
 * "Write this part of the payload of an aggregate." Without a part: send a message for each part that is missing.
 *
 * @example { "v": 1, "aggregate": "bafkzci…" }
 * @example { "v": 1, "aggregate": "bafkzci…", "part": 7 }
 */
export const fillMessage = messageFormat(
  z.object({ aggregate: z.string(), part: z.int().nonnegative().optional() }),
)
export type FillMessage = MessageOf<typeof fillMessage>

/** The messages of each queue. */
export const messages = {
  track: trackMessage,
  report: reportMessage,
  retry: retryMessage,
  order: orderMessage,
  fill: fillMessage,
  conclude: concludeMessage,
  translate: translateMessage,
} satisfies MessageFormats<typeof resources>

export type Queues = QueuesOf<typeof messages>
