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
  /** Every aggregate that it is or was in, each with the proof. */
  aggregates: { aggregate: PieceLink; inclusion: Inclusion }[]
  /** Deals of these that are live. */
  deals: DealSummary[]
  /** From here on our own additions. Deals that were live, and are no more. */
  pastDeals: DealSummary[]
  /** Where the piece is: once for every content, and nonce, that it was offered with. */
  workflows: Workflow[]
}

export interface DealSummary {
  aggregate: PieceLink
  /** Address of the storage provider, `f0…`. */
  provider: string
  aux: DealMetadata
  /** As in `deal/info`. */
  status: string
  /** ISO 8601. */
  expiration: string
}

/**
 * - `offered`: the content is still to be read, and checked
 * - `submitted`: the aggregator is still to be asked
 * - `queued`: waits for an aggregate
 * - `aggregated`: in an aggregate, which waits for a deal
 * - `retried`: its aggregate got no deal, and the aggregator is asked again
 * - `accepted`: in a deal; the end
 * - `failed`: it never will be; the end
 */
export type Stage = 'offered' | 'submitted' | 'queued' | 'aggregated' | 'retried' | 'accepted' | 'failed'

/** The way of a piece from an offer to a deal. Times are ISO 8601. */
export interface Workflow {
  content: UnknownLink
  nonce?: string
  group: string
  stage: Stage
  since: string
  /** All stages that it passed, in order. */
  history: { stage: Stage; at: string }[]
  /** The `filecoin/accept` task that ends it: its receipt is there from `accepted` or `failed` on. */
  accept: UnknownLink
  /** What it waits for, in a sentence. Absent at the end. */
  waitsFor?: string
  /** While it waits for an aggregate, and the aggregator tells. */
  next?: NextAggregate
  /** What went wrong at this stage lately, and when it is tried again. */
  trouble?: { message: string; at: string; times: number; again: string }
  /** Why it failed. */
  error?: { name: string; message: string }
}
