import type { Queue } from '@w3filecoin/runtime'
import { z } from 'zod'

/** "Write this range of the deals that a run of a source changed." `changes` is the run's list of ranges. */
export const updateMessage = z.object({ source: z.string(), changes: z.string(), range: z.number().int() })
export type UpdateMessage = z.infer<typeof updateMessage>

export interface Queues {
  update: Queue<UpdateMessage>
}
