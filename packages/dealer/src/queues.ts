import type { ConcludeMessage, Queue } from '@w3filecoin/service'
import { z } from 'zod'

/** Aggregates that one message asks about. */
export const TRACK_BATCH = 50

/** "Ask the deal tracker about these aggregates." */
export const trackMessage = z.object({ aggregates: z.array(z.string()).min(1).max(TRACK_BATCH) })
export type TrackMessage = z.infer<typeof trackMessage>

export interface Queues {
  track: Queue<TrackMessage>
  conclude: Queue<ConcludeMessage>
}
