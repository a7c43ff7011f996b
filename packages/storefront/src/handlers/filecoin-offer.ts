import { type FilecoinOfferMeta, filecoinOffer, type Task, type UnknownLink } from '@w3filecoin/capabilities'
import { type Handler, provide } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { findActingSpace } from '../workflow/acting-space.ts'
import { type OfferDependencies, offerPiece } from '../workflow/offer-piece.ts'

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
        await removeEarlierReceipt(dependencies.stores, `${invocation.cid}`, acceptTask)
      return {
        out: { ok: { piece } },
        fx: { fork: [submitTask], join: acceptTask },
        isRepeat,
        ...(PDP === undefined ? {} : { meta: PDP_META }),
      }
    },
    { keep: true },
  )

/**
 * Removes the receipt of this offer if it promises an earlier attempt. Published clients repeat the same invocation, which has
 * the same task CID, and must learn about the attempt that their offer started.
 */
const removeEarlierReceipt = async (
  { receipt, receipts }: Dependencies['stores'],
  task: string,
  acceptTask: Task,
): Promise<void> => {
  const stored = await receipts.get(task)
  if (stored && `${stored.fx.join?.link()}` !== `${acceptTask.cid}`) await receipt.removeMany([{ task }])
}
