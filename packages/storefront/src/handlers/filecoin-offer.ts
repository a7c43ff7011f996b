import { filecoinOffer, type UnknownLink } from '@w3filecoin/capabilities'
import { type Handler, provide } from '@w3filecoin/runtime'
import { type OfferDependencies, offerPiece } from '../workflow/offer-piece.ts'

/** `filecoin/offer`: records the piece, and promises `filecoin/submit` and `filecoin/accept`. */
export const filecoinOfferHandler = (dependencies: OfferDependencies): Handler =>
  provide(
    filecoinOffer,
    async ({ capability, invocation }) => {
      const { content, piece } = capability.nb
      const offered = await offerPiece(dependencies, {
        content: content as UnknownLink,
        piece,
        nonce: invocation.nonce,
        space: capability.with,
      })
      if (offered.error) return { out: offered }
      const { submitTask, acceptTask } = offered.ok
      return { out: { ok: { piece } }, fx: { fork: [submitTask], join: acceptTask } }
    },
    { keep: true },
  )
