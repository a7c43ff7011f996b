import { CBOR } from '@ucanto/core'
import type { Invocation, Receipt } from '@ucanto/interface'
import type { PieceAcceptSuccess } from '@w3filecoin/capabilities'
import type { PieceLink } from '@w3filecoin/piece'
import { randomContent, upload } from './content.ts'
import { offer } from './invoke.ts'
import { awaitReceipt, effectOf } from './receipts.ts'
import type { System } from './system.ts'

/** The receipts of a piece's journey through aggregator and dealer, after the receipt of `piece/offer`. */
export interface Aggregated {
  /** Of `piece/accept`. */
  included: Receipt
  success: PieceAcceptSuccess
  aggregateOffer: Invocation
  /** Of `aggregate/offer`. */
  dealt: Receipt
  /** The pieces in the block that was sent with `aggregate/offer`. */
  pieces: PieceLink[]
}

/** Follows the effects of a piece, from receipt to receipt. */
export const followPiece = async ({ at }: Pick<System, 'at'>, offered: Receipt): Promise<Aggregated> => {
  const included = await awaitReceipt(at('aggregator'), `${effectOf(offered.fx.join).cid}`)
  const aggregateOffer = effectOf(included.fx.join)
  const dealt = await awaitReceipt(at('dealer'), `${aggregateOffer.cid}`)
  const success = included.out.ok as PieceAcceptSuccess
  return { included, success, aggregateOffer, dealt, pieces: piecesOf(effectOf(dealt.ran)) }
}

/** Returns the list of pieces that was sent with an `aggregate/offer`. */
const piecesOf = (offer: Invocation): PieceLink[] => {
  const [{ nb }] = offer.capabilities as unknown as [{ nb: { pieces: unknown } }]
  const block = [...offer.iterateIPLDBlocks()].find(({ cid }) => `${cid}` === `${nb.pieces}`)
  return CBOR.decode(block?.bytes as never)
}

/** The receipts of a piece's whole journey, after the receipt of `filecoin/offer`. */
export interface Accepted extends Aggregated {
  /** Of `filecoin/submit`. */
  submitted: Receipt
  /** Of `piece/offer`. */
  queued: Receipt
  /** Of `aggregate/accept`. */
  live: Receipt
  /** Of `filecoin/accept`. */
  accepted: Receipt
}

/** Follows the effects of an offer at a storefront, from receipt to receipt, until `filecoin/accept`. */
export const follow = async (
  system: Pick<System, 'at'>,
  offered: Receipt,
  role = 'storefront',
): Promise<Accepted> => {
  const { at } = system
  const submitted = await awaitReceipt(at(role), `${effectOf(offered.fx.fork[0]).cid}`)
  const queued = await awaitReceipt(at('aggregator'), `${effectOf(submitted.fx.join).cid}`)
  const aggregated = await followPiece(system, queued)
  const live = await awaitReceipt(at('dealer'), `${effectOf(aggregated.dealt.fx.join).cid}`)
  const accepted = await awaitReceipt(at(role), `${effectOf(offered.fx.join).cid}`)
  return { submitted, queued, ...aggregated, live, accepted }
}

/**
 * Offers content to the storefront and takes it to a deal, and offers content that never arrives. `accept` and `promised` are the
 * CIDs of their `filecoin/accept`: the first task has a receipt, the second one has none.
 */
export const startTwoWorkflows = async ({ at, local }: System) => {
  const [ended, waiting] = [await randomContent(10_000), await randomContent(10_000)]
  await upload(local, ended)
  const [offered, second] = [await offer(at('storefront'), ended), await offer(at('storefront'), waiting)]
  const accept = `${effectOf(offered.fx.join).cid}`
  await awaitReceipt(at('storefront'), accept)
  return { offered, accept, waiting, promised: `${effectOf(second.fx.join).cid}` }
}
