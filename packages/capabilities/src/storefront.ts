import { capability, Schema } from '@ucanto/validator'
import type { NextAggregate } from './aggregator.ts'
import {
  covers,
  type DealMetadata,
  type Inclusion,
  type PieceLink,
  pieceLink,
  type UnknownLink,
} from './schema.ts'

const offered = Schema.struct({
  /** CID of the content. */
  content: Schema.link(),
  /** Piece CID of the content. */
  piece: pieceLink,
})

/** An agent asks a storefront to store content in Filecoin. */
export const filecoinOffer = capability({
  can: 'filecoin/offer',
  /** The space that holds the content. */
  with: Schema.did(),
  nb: offered,
  derives: covers,
})

/** The storefront's own task: check that the content has the piece CID, then offer the piece to the aggregator. */
export const filecoinSubmit = capability({
  can: 'filecoin/submit',
  /** The storefront. */
  with: Schema.did(),
  nb: offered,
  derives: covers,
})

/** The storefront's own task at the end of the workflow. Its receipt proves a deal, or names the reason for a failure. */
export const filecoinAccept = capability({
  can: 'filecoin/accept',
  /** The storefront. */
  with: Schema.did(),
  nb: offered,
  derives: covers,
})

/** An agent of the space asks for the state of a piece. */
export const filecoinInfo = capability({
  can: 'filecoin/info',
  /** The space that holds the content. */
  with: Schema.did(),
  nb: Schema.struct({ piece: pieceLink }),
  derives: covers,
})

/** The result of `filecoin/offer`. */
export interface FilecoinOfferSuccess {
  piece: PieceLink
}

/** The result of `filecoin/submit`. */
export interface FilecoinSubmitSuccess {
  piece: PieceLink
}

/** The result of `filecoin/accept`. */
export interface FilecoinAcceptSuccess {
  piece: PieceLink
  aggregate: PieceLink
  /** Proof that the piece is in the aggregate. */
  inclusion: Inclusion
  /** A deal of the aggregate. */
  aux: DealMetadata
}

/** The result of `filecoin/info`. */
export interface FilecoinInfoSuccess {
  piece: PieceLink
  /** Every aggregate that the piece is or was in, each with the inclusion proof. */
  aggregates: { aggregate: PieceLink; inclusion: Inclusion }[]
  /** Live deals of these aggregates. */
  deals: DealSummary[]
  /** Expired and terminated deals of these aggregates. An addition of this project to the protocol. */
  pastDeals: DealSummary[]
  /** The state of the piece, once for each content and nonce that it was offered with. Another addition. */
  workflows: Workflow[]
}

/** A deal, as `filecoin/info` reports it. */
export interface DealSummary {
  aggregate: PieceLink
  /** Address of the storage provider, e.g. `f020378`. */
  provider: string
  aux: DealMetadata
  /** As in `deal/info`: `Active`, `Expired` or `Terminated`. */
  status: string
  /** The end of the deal (ISO 8601). */
  expiration: string
}

/**
 * The stage of a piece at the storefront.
 *
 * - `offered`: the storefront has not checked the content yet
 * - `submitted`: the content is checked, and the aggregator does not have the piece yet
 * - `queued`: the aggregator has the piece, which waits for an aggregate
 * - `aggregated`: the piece is in an aggregate, which waits for a deal
 * - `retried`: the aggregate got no deal, and the storefront offers the piece to the aggregator again
 * - `accepted`: the aggregate has a deal (final)
 * - `failed`: the piece gets no deal (final)
 */
export type Stage = 'offered' | 'submitted' | 'queued' | 'aggregated' | 'retried' | 'accepted' | 'failed'

/** The progress of a piece from an offer to a deal. Times are ISO 8601. */
export interface Workflow {
  content: UnknownLink
  nonce?: string
  group: string
  stage: Stage
  /** Time at which it reached the stage. */
  since: string
  /** Its stages so far, in order. */
  history: { stage: Stage; at: string }[]
  /** CID of its `filecoin/accept` task. The receipt exists from the stage `accepted` or `failed` on. */
  accept: UnknownLink
  /** The next step, in a sentence for people. Absent at a final stage. */
  waitsFor?: string
  /** The next aggregate of the group, while the piece waits for one and the aggregator answers `piece/info`. */
  next?: NextAggregate
  /** The latest error at this stage, how many times it occurred, and the time of the next attempt. */
  trouble?: { message: string; at: string; times: number; again: string }
  /** The reason for the stage `failed`. */
  error?: { name: string; message: string }
}
