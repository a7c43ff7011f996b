import { capability, Schema } from '@ucanto/validator'
import { covers, type Inclusion, type PieceLink, pieceLink } from './schema.ts'

const grouped = Schema.struct({
  piece: pieceLink,
  /** Pieces of one group, of one storefront, are aggregated together; never with others. */
  group: Schema.text(),
})

/** A storefront requests that a piece is put into an aggregate. */
export const pieceOffer = capability({
  can: 'piece/offer',
  /** The storefront itself, or the aggregator with a delegation to the storefront. */
  with: Schema.did(),
  nb: grouped,
  derives: covers,
})

/** The aggregator's own task: the piece is in an aggregate, with the proof. */
export const pieceAccept = capability({
  can: 'piece/accept',
  /** The aggregator. */
  with: Schema.did(),
  nb: grouped,
  derives: covers,
})

export interface PieceOfferSuccess {
  piece: PieceLink
}

export interface PieceAcceptSuccess {
  piece: PieceLink
  aggregate: PieceLink
  inclusion: Inclusion
}
