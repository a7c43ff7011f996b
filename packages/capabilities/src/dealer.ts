import { capability, Schema } from '@ucanto/validator'
import { covers, type DealMetadata, type PieceLink, pieceLink } from './schema.ts'

/** An aggregator requests that deals are made for an aggregate. */
export const aggregateOffer = capability({
  can: 'aggregate/offer',
  /** The aggregator itself, or the dealer with a delegation to the aggregator. */
  with: Schema.did(),
  nb: Schema.struct({
    aggregate: pieceLink,
    /**
     * DAG-CBOR block with the links of all pieces, in the order that the aggregate was computed from.
     * The block travels with the invocation.
     */
    pieces: Schema.link({ version: 1 }),
  }),
  derives: covers,
})

/** The dealer's own task: the aggregate is in a deal on chain, or the reason why not. */
export const aggregateAccept = capability({
  can: 'aggregate/accept',
  /** The dealer. */
  with: Schema.did(),
  nb: Schema.struct({ aggregate: pieceLink, pieces: Schema.link() }),
  derives: covers,
})

export interface AggregateOfferSuccess {
  aggregate: PieceLink
}

export interface AggregateAcceptSuccess extends DealMetadata {
  aggregate: PieceLink
}
