import { capability, Schema } from '@ucanto/validator'
import { covers, type DealMetadata, type Inclusion, type PieceLink, pieceLink } from './schema.ts'

const offered = Schema.struct({
  /** CID of the content that the piece was computed from. */
  content: Schema.link(),
  /** Piece CID of that content. */
  piece: pieceLink,
})

/** An agent requests that a content piece is stored in Filecoin. */
export const filecoinOffer = capability({
  can: 'filecoin/offer',
  /** The space that holds the content. */
  with: Schema.did(),
  nb: offered,
  derives: covers,
})

/** The storefront's own task: check the content against its piece, and pass the piece on to the aggregator. */
export const filecoinSubmit = capability({
  can: 'filecoin/submit',
  /** The storefront. */
  with: Schema.did(),
  nb: offered,
  derives: covers,
})

/** The storefront's own task that ends the workflow: proof of a deal, or the reason why there is none. */
export const filecoinAccept = capability({
  can: 'filecoin/accept',
  /** The storefront. */
  with: Schema.did(),
  nb: offered,
  derives: covers,
})

/** Anybody who may act for the space asks where a piece is. */
export const filecoinInfo = capability({
  can: 'filecoin/info',
  /** The space that holds the content. */
  with: Schema.did(),
  nb: Schema.struct({ piece: pieceLink }),
  derives: covers,
})

export interface FilecoinOfferSuccess {
  piece: PieceLink
}

export interface FilecoinSubmitSuccess {
  piece: PieceLink
}

export interface FilecoinAcceptSuccess {
  piece: PieceLink
  aggregate: PieceLink
  /** Proof that the piece is in the aggregate. */
  inclusion: Inclusion
  /** The deal that the aggregate is in. */
  aux: DealMetadata
}

export interface FilecoinInfoSuccess {
  piece: PieceLink
  aggregates: { aggregate: PieceLink; inclusion: Inclusion }[]
  deals: { aggregate: PieceLink; provider: string; aux: DealMetadata }[]
}
