import type { Queue } from '@w3filecoin/runtime'
import { z } from 'zod'

/** "Read the content of this piece." */
export const submitMessage = z.object({ id: z.string() })
export type SubmitMessage = z.infer<typeof submitMessage>

/** "Offer this piece to the aggregator", or ask after it if that was done. */
export const pieceOfferMessage = z.object({ id: z.string() })
export type PieceOfferMessage = z.infer<typeof pieceOfferMessage>

/**
 * "The aggregate is in a deal: end the workflows of these pieces", or of a range of all pieces in it; or with neither,
 * "see what became of the aggregate".
 */
export const acceptMessage = z.union([
  z.object({ aggregate: z.string(), pieces: z.array(z.string()).min(1) }),
  z.object({ aggregate: z.string(), shard: z.number().int(), after: z.string().optional() }),
  z.strictObject({ aggregate: z.string() }),
])
export type AcceptMessage = z.infer<typeof acceptMessage>

export interface Queues {
  submit: Queue<SubmitMessage>
  pieceOffer: Queue<PieceOfferMessage>
  accept: Queue<AcceptMessage>
}
