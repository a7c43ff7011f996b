import { pieceOffer } from '@w3filecoin/capabilities'
import { type Handler, provide, unpackTask } from '@w3filecoin/runtime'
import { acceptOffer, type OfferDependencies, refuseOffer } from '../offers/accept-offer.ts'

/**
 * `piece/offer`: adds a piece to its group, and promises the `piece/accept` that will name its aggregate. A repeated
 * offer gets the same promise. If the resource is the dealer, the offer retries a piece of a failed aggregate.
 */
export const pieceOfferHandler = (dependencies: OfferDependencies): Handler =>
  provide(
    pieceOffer,
    async ({ capability, invocation, candidate }) => {
      const { piece, group } = capability.nb
      const offer = { resource: capability.with, piece, group, invocation, message: candidate.ucans }
      const { ok: record, error } = await acceptOffer(dependencies, offer)
      if (error) return refuseOffer(dependencies, invocation, error)
      return { out: { ok: { piece } }, fx: { join: await unpackTask(record.acceptTask) } }
    },
    { keep: true },
  )
