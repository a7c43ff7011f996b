import type { ConcludeMessage, Queue } from '@w3filecoin/runtime'
import { z } from 'zod'

/** "Put this piece into the list of its group." */
export const pieceMessage = z.object({ id: z.string() })
export type PieceMessage = z.infer<typeof pieceMessage>

/** "See whether this group makes an aggregate." `id` says which occasion it is; the same one counts once. */
export const sealMessage = z.object({ group: z.string(), id: z.string() })
export type SealMessage = z.infer<typeof sealMessage>

/** One seal of a group after the other; the same occasion is one message. */
export const sealOrder = {
  group: ({ group }: SealMessage) => group,
  id: ({ group, id }: SealMessage) => `${group}-${id}`,
}

/** "Tell this range of the pieces of an aggregate that they are in it." */
export const includeMessage = z.object({ aggregate: z.string(), range: z.number().int() })
export type IncludeMessage = z.infer<typeof includeMessage>

/** "Offer this aggregate to the dealer." */
export const aggregateOfferMessage = z.object({ aggregate: z.string() })
export type AggregateOfferMessage = z.infer<typeof aggregateOfferMessage>

export interface Queues {
  piece: Queue<PieceMessage>
  seal: Queue<SealMessage>
  include: Queue<IncludeMessage>
  aggregateOffer: Queue<AggregateOfferMessage>
  conclude: Queue<ConcludeMessage>
}
