import { capability, Schema } from '@ucanto/validator'
import type { DealMetadata } from './place.ts'
import type { Failure } from './result.ts'
import { covers, type PieceLink, pieceLink } from './schema.ts'

/** An aggregator asks a dealer to make deals for an aggregate. */
export const aggregateOffer = capability({
  can: 'aggregate/offer',
  /** The aggregator; or the dealer, with a delegation to the aggregator. */
  with: Schema.did(),
  nb: Schema.struct({
    aggregate: pieceLink,
    /**
     * Link of the block that lists the pieces: a DAG-CBOR array of piece links, in the order of the aggregate. The block
     * is attached to the invocation.
     */
    pieces: Schema.link({ version: 1 }),
  }),
  derives: covers,
})

/** The dealer's own task. Its receipt names a place of the aggregate on chain, or the reason for a failure. */
export const aggregateAccept = capability({
  can: 'aggregate/accept',
  /** The dealer. */
  with: Schema.did(),
  nb: Schema.struct({ aggregate: pieceLink, pieces: Schema.link() }),
  derives: covers,
})

/** The result of `aggregate/offer`. */
export interface AggregateOfferSuccess {
  aggregate: PieceLink
}

/**
 * The result of `aggregate/accept`.
 *
 * @example `{ aggregate: bafkzci…, dataType: 0, dataSource: { dealID: 81234567 } }`
 */
export type AggregateAcceptSuccess = DealMetadata & { aggregate: PieceLink }

/** Whether a refusal of `aggregate/offer` names the invalid pieces of the aggregate. Every other refusal may change. */
export const namesInvalidPieces = ({ name, cause }: Failure): boolean =>
  name === 'InvalidPiece' && Array.isArray(cause) && cause.length > 0

/** The errors of `aggregate/accept` that decide about an aggregate. Every other error concerns one request, and may pass. */
const FAILURES = new Set(['DealNotFound', 'InvalidPiece'])

/** Whether an error of `aggregate/accept` ends the aggregate. */
export const endsAggregate = ({ name }: Failure): boolean => FAILURES.has(name)
