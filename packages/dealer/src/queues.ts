import type { ConcludeMessage, Queue } from '@w3filecoin/runtime'
import { z } from 'zod'
import { MOST_FAULTS } from './domain/aggregate.ts'

/** Aggregates that one message asks about. */
export const TRACK_BATCH = 50

/** "Ask the deal tracker about these aggregates." */
export const trackMessage = z.object({ aggregates: z.array(z.string()).min(1).max(TRACK_BATCH) })
export type TrackMessage = z.infer<typeof trackMessage>

/**
 * "There will be no deal for this aggregate." Comes from outside, from those who make deals, and from `track` when it
 * waited too long. `offer` is the name of the offer document; `invalid` are the pieces at fault, if any.
 */
export const reportMessage = z.strictObject({
  offer: z.string().max(300),
  message: z.string().min(1).max(1000),
  invalid: z
    .array(z.strictObject({ piece: z.string().max(200), message: z.string().min(1).max(500) }))
    .max(MOST_FAULTS)
    .default([]),
})
export type ReportMessage = z.infer<typeof reportMessage>

/** "Offer this range of the pieces of a failed aggregate to the aggregator again." */
export const retryMessage = z.object({ aggregate: z.string(), range: z.number().int() })
export type RetryMessage = z.infer<typeof retryMessage>

export interface Queues {
  track: Queue<TrackMessage>
  report: Queue<ReportMessage>
  retry: Queue<RetryMessage>
  conclude: Queue<ConcludeMessage>
}
