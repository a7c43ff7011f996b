import { type FilecoinOfferMeta, filecoinOffer, type UnknownLink } from '@w3filecoin/capabilities'
import { type Handler, provide } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { findActingSpace } from '../workflow/acting-space.ts'
import { type OfferDependencies, offerPiece } from '../workflow/offer-piece.ts'
import { removeEarlierReceipt } from '../workflow/promises.ts'

/** Tells the agent that the storefront does not act on the proof of possession in its offer. */
const PDP_META: FilecoinOfferMeta = { PDP: 'not verified' }

/**
 * `filecoin/offer`: records the piece, and promises `filecoin/submit` and `filecoin/accept`. An offer with `PDP` is the same
 * workflow as an offer without it: see decision 0043.
 */
export const filecoinOfferHandler = (
  dependencies: OfferDependencies & Pick<Dependencies, 'authority'>,
): Handler =>
  provide(
    filecoinOffer,
    async ({ capability, ...input }) => {
      const { content, piece, PDP } = capability.nb
      const { invocation } = input
      const offered = await offerPiece(dependencies, {
        content: content as UnknownLink,
        piece,
        nonce: invocation.nonce,
        space: await findActingSpace(dependencies, filecoinOffer, input),
      })
      if (offered.error) return { out: offered }
      const { record, isRepeat, submitTask, acceptTask } = offered.ok
      if (record.attempt !== undefined)
        await removeEarlierReceipt(dependencies, `${invocation.cid}`, acceptTask)
      return {
        out: { ok: { piece } },
        fx: { fork: [submitTask], join: acceptTask },
        isRepeat,
        ...(PDP === undefined ? {} : { meta: PDP_META }),
      }
    },
    { keep: true },
  )
