import { type FilecoinOfferMeta, filecoinOffer, type UnknownLink } from '@w3filecoin/capabilities'
import { type Handler, provide } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { findAddress } from '../domain/listener.ts'
import { findActingSpace } from '../workflow/acting-space.ts'
import { nameAddress } from '../workflow/name-address.ts'
import { type OfferDependencies, offerPiece } from '../workflow/offer-piece.ts'
import { removeEarlierReceipt } from '../workflow/promises.ts'

/** Tells the agent that the storefront does not act on the proof of possession in its offer. */
const PDP_META: FilecoinOfferMeta = { PDP: 'not verified' }

/**
 * `filecoin/offer`: records the piece, and promises `filecoin/submit` and `filecoin/accept`. An offer with `PDP` is the same
 * workflow as an offer without it: see decision 0043. With the fact `receiptsTo`, the receipt of `filecoin/accept` is delivered
 * to an address: see decision 0072.
 */
export const filecoinOfferHandler = (
  dependencies: OfferDependencies & Pick<Dependencies, 'authority' | 'addresses'>,
): Handler =>
  provide(
    filecoinOffer,
    async ({ capability, ...input }) => {
      const { content, piece, PDP } = capability.nb
      const { invocation } = input
      const address = findAddress(invocation.facts, dependencies.addresses)
      if (address.error) return { out: address }
      const space = await findActingSpace(dependencies, filecoinOffer, input)
      const offered = await offerPiece(dependencies, {
        content: content as UnknownLink,
        piece,
        nonce: invocation.nonce,
        space,
      })
      if (offered.error) return { out: offered }
      const { record, isRepeat, submitTask, acceptTask } = offered.ok
      if (address.ok) {
        const named = await nameAddress(dependencies, {
          record,
          acceptTask,
          audience: invocation.issuer.did(),
          url: address.ok.url,
          space,
        })
        if (named.error) return { out: named }
      }
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
