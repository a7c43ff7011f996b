import { CBOR } from '@ucanto/core'
import type { Invocation, Receipt } from '@ucanto/interface'
import type { PieceAcceptSuccess } from '@w3filecoin/capabilities'
import type { PieceLink } from '@w3filecoin/piece'
import { awaitReceipt, effect } from './receipts.ts'
import type { System } from './system.ts'

/** The receipts of a piece's way through aggregator and dealer, from the one of `piece/offer` on. */
export interface Aggregated {
  /** Of `piece/accept`. */
  included: Receipt
  success: PieceAcceptSuccess
  aggregateOffer: Invocation
  /** Of `aggregate/offer`. */
  dealt: Receipt
  /** What the block lists that travelled with `aggregate/offer`. */
  pieces: PieceLink[]
}

/** Follows a piece from link to link: the receipt of each task is that of the effect which the one before it has. */
export const followPiece = async ({ at }: Pick<System, 'at'>, offered: Receipt): Promise<Aggregated> => {
  const included = await awaitReceipt(at('aggregator'), `${effect(offered.fx.join).cid}`)
  const aggregateOffer = effect(included.fx.join)
  const dealt = await awaitReceipt(at('dealer'), `${aggregateOffer.cid}`)
  const success = included.out.ok as PieceAcceptSuccess
  return { included, success, aggregateOffer, dealt, pieces: piecesOf(effect(dealt.ran)) }
}

/** The list of pieces that travelled with an `aggregate/offer`. */
const piecesOf = (offer: Invocation): PieceLink[] => {
  const [{ nb }] = offer.capabilities as unknown as [{ nb: { pieces: unknown } }]
  const block = [...offer.iterateIPLDBlocks()].find(({ cid }) => `${cid}` === `${nb.pieces}`)
  return CBOR.decode(block?.bytes as never)
}

/** The receipts of a piece's whole way, from the one of `filecoin/offer` on. */
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

/** Follows an offer at a storefront from link to link to its end. */
export const follow = async (
  system: Pick<System, 'at'>,
  offered: Receipt,
  role = 'storefront',
): Promise<Accepted> => {
  const { at } = system
  const submitted = await awaitReceipt(at(role), `${effect(offered.fx.fork[0]).cid}`)
  const queued = await awaitReceipt(at('aggregator'), `${effect(submitted.fx.join).cid}`)
  const aggregated = await followPiece(system, queued)
  const live = await awaitReceipt(at('dealer'), `${effect(aggregated.dealt.fx.join).cid}`)
  const accepted = await awaitReceipt(at(role), `${effect(offered.fx.join).cid}`)
  return { submitted, queued, ...aggregated, live, accepted }
}
