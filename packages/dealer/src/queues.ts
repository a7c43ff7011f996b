import {
  concludeMessage,
  type MessageFormats,
  type MessageOf,
  messageFormat,
  type QueuesOf,
} from '@w3filecoin/runtime'
import { z } from 'zod'
import { MAX_FAULTS } from './domain/aggregate.ts'
import type { resources } from './resources.ts'

/** Aggregates that one message asks about. */
export const TRACK_BATCH = 50

/** "Ask the deal tracker about these aggregates." */
export const trackMessage = messageFormat(
  z.object({ aggregates: z.array(z.string()).min(1).max(TRACK_BATCH) }),
)
export type TrackMessage = MessageOf<typeof trackMessage>

/**
 * "There will be no deal for this aggregate." Sent from outside by deal making, and by `track` when the aggregate waited
 * too long. `offer` is the name of the offer document; `invalid` lists the invalid pieces, if any.
 *
 * @example { "offer": "bafk…/kD3….json", "message": "No provider took it", "invalid": [] }
 */
export const reportMessage = messageFormat(
  z.strictObject({
    offer: z.string().max(300),
    message: z.string().min(1).max(1000),
    invalid: z
      .array(z.strictObject({ piece: z.string().max(200), message: z.string().min(1).max(500) }))
      .max(MAX_FAULTS)
      .default([]),
  }),
)
export type ReportMessage = MessageOf<typeof reportMessage>

/** "Offer this range of a failed aggregate's pieces to the aggregator again." */
export const retryMessage = messageFormat(z.object({ aggregate: z.string(), range: z.number().int() }))
export type RetryMessage = MessageOf<typeof retryMessage>

/** The messages of each queue. */
export const messages = {
  track: trackMessage,
  report: reportMessage,
  retry: retryMessage,
  conclude: concludeMessage,
} satisfies MessageFormats<typeof resources>

export type Queues = QueuesOf<typeof messages>
