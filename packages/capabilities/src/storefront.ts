import { capability, Schema } from '@ucanto/validator'
import type { NextAggregate } from './aggregator.ts'
import type { PlaceStatus } from './deal-tracker.ts'
import type { DealMetadata } from './place.ts'
import { covers, type Inclusion, type PieceLink, pieceLink, type UnknownLink } from './schema.ts'

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
  nb: Schema.struct({
    ...offered.shape,
    /**
     * Link of a `pdp/accept` task: a storage provider proves possession of the content. Published clients may send it.
     * The storefront does not verify it, and says so in `meta` of the receipt: see {@link FilecoinOfferMeta}.
     */
    PDP: Schema.link({ version: 1 }).optional(),
  }),
  derives: covers,
})

/**
 * The storefront's own task: check that the content has the piece CID, then offer the piece to the aggregator. Its facts
 * distinguish workflows of the same offer; see `Distinction` in `tasks.ts`.
 */
export const filecoinSubmit = capability({
  can: 'filecoin/submit',
  /** The storefront. */
  with: Schema.did(),
  nb: offered,
  derives: covers,
})

/**
 * The storefront's own task at the end of the workflow. Its receipt proves a deal, or names the reason for a failure. Its
 * facts are those of `filecoin/submit`.
 */
export const filecoinAccept = capability({
  can: 'filecoin/accept',
  /** The storefront. */
  with: Schema.did(),
  nb: offered,
  derives: covers,
})

/** An agent asks for the aggregates and deals of a piece, for the workflows of its space, or for the state of one task. */
export const filecoinInfo = capability({
  can: 'filecoin/info',
  /** The space that holds the content. */
  with: Schema.did(),
  nb: Schema.struct({
    piece: pieceLink,
    /** CID of a `filecoin/submit` or `filecoin/accept` that an offer of the piece promised. */
    task: Schema.link().optional(),
    /** `next` of an earlier answer: returns the following workflows. */
    after: Schema.text().optional(),
  }),
  derives: covers,
})

/**
 * A fact of `filecoin/offer`. The storefront delivers the receipt of the promised `filecoin/accept` to the address, as
 * `ucan/conclude` to the issuer of the offer.
 *
 * @example { receiptsTo: 'https://agent.example/receipts' }
 */
export interface FilecoinOfferFact {
  receiptsTo: string
}

/** The result of `filecoin/offer`. */
export interface FilecoinOfferSuccess {
  piece: PieceLink
}

/** `meta` of the receipt of a `filecoin/offer` with the caveat `PDP`. */
export interface FilecoinOfferMeta {
  PDP: 'not verified'
}

/** The result of `filecoin/submit`. */
export interface FilecoinSubmitSuccess {
  piece: PieceLink
}

/** The result of `filecoin/accept`. */
export interface FilecoinAcceptSuccess {
  /** The piece of the content. */
  piece: PieceLink
  /** The aggregate that contains it. */
  aggregate: PieceLink
  /** Proof that the piece is in the aggregate. */
  inclusion: Inclusion
  /** A place of the aggregate on chain: usually a deal. */
  aux: DealMetadata
}

/**
 * The result of `filecoin/info`. Aggregates and deals are public. Contents, nonces and groups are in `workflows`, which has
 * only those of the space that asks. Fields other than `piece`, `aggregates` and `deals` are additions of this project.
 */
export interface FilecoinInfoSuccess {
  /** The piece in the question. */
  piece: PieceLink
  /** The latest aggregates that the piece is or was in, newest first, each with the inclusion proof. */
  aggregates: { aggregate: PieceLink; inclusion: Inclusion }[]
  /** Whether the piece is in more aggregates than these. */
  moreAggregates?: true
  /** Live deals of these aggregates. */
  deals: DealSummary[]
  /** Expired and terminated deals of these aggregates. */
  pastDeals: DealSummary[]
  /** Places of these aggregates other than deals of the built-in market, live or not. */
  places: PlaceSummary[]
  /** The workflows of the piece that the space in `with` offered: one for each content and nonce. */
  workflows: Workflow[]
  /** Pass it as `after` to read the following workflows, if there are any. Absent on the last page. */
  next?: string
  /** The state of the task in the question. Then `aggregates` has those of its workflow only, and `workflows` is empty. */
  task?: TaskState
  /** Sentences for people about knowledge that is missing. */
  warnings?: string[]
}

/** A deal, as `filecoin/info` reports it. */
export interface DealSummary {
  /** The aggregate that the deal is of. */
  aggregate: PieceLink
  /** Address of the storage provider, e.g. `f020378`. */
  provider: string
  /** The deal, with data type 0. */
  aux: DealMetadata & { dataType: 0 }
  /** As in `deal/info`: `Active`, `Expired` or `Terminated`. */
  status: string
  /** Why it was terminated, as in `deal/info`. */
  reason?: string
  /** The end of the deal (ISO 8601). */
  expiration: string
}

/** A place of an aggregate other than a deal of the built-in market, as `filecoin/info` reports it: as `deal/info` does. */
export interface PlaceSummary extends Omit<PlaceStatus, 'pieceCid'> {
  /** The aggregate that is there. */
  aggregate: PieceLink
}

/**
 * The public state of a promised task: it does not reveal the content, nor the space that offered it. Times are ISO 8601.
 *
 * @example `{ task: bafyrei…, stage: 'failed', since: '2027-02-03T10:00:00.000Z', history: […],
 * error: { name: 'ContentNotFound' } }`
 */
export interface TaskState {
  task: UnknownLink
  stage: Stage
  /** Time at which the workflow reached the stage. */
  since: string
  /** Its stages so far, in order. */
  history: { stage: Stage; at: string }[]
  /** The next step, in a sentence for people. Absent at a final stage. */
  waitsFor?: string
  /** The name of the failure at the stage `failed`. */
  error?: { name: string }
  /**
   * The tasks of the workflow, `filecoin/submit` and `filecoin/accept`: `task` is one of them. Absent if a later attempt has
   * promised others.
   */
  submit?: UnknownLink
  accept?: UnknownLink
}

/**
 * The stage of a piece at the storefront.
 *
 * - `offered`: the storefront has not checked the content yet
 * - `submitted`: the content is checked, and the aggregator does not have the piece yet
 * - `queued`: the aggregator has the piece, which waits for an aggregate
 * - `aggregated`: the piece is in an aggregate, which waits to be stored
 * - `retried`: the aggregate was not stored, and the storefront offers the piece to the aggregator again
 * - `accepted`: the aggregate is stored: it has a deal, or another place on chain (final)
 * - `failed`: the piece is not stored (final)
 */
export type Stage = 'offered' | 'submitted' | 'queued' | 'aggregated' | 'retried' | 'accepted' | 'failed'

/** The progress of a piece from an offer to a place on chain. Times are ISO 8601. */
export interface Workflow {
  /** CID of the content. */
  content: UnknownLink
  /** The nonce of the offer. */
  nonce?: string
  /** The group of the piece: the provider of its space. */
  group: string
  /** The present stage. */
  stage: Stage
  /** Time at which it reached the stage. */
  since: string
  /** Its stages so far, in order. */
  history: { stage: Stage; at: string }[]
  /** CID of its `filecoin/accept` task. The receipt exists from the stage `accepted` or `failed` on. */
  accept: UnknownLink
  /** Number of this attempt, from 2: the content was not there in time for the earlier ones. Absent for the first one. */
  attempt?: number
  /** The next step, in a sentence for people. Absent at a final stage. */
  waitsFor?: string
  /** The next aggregate of the group, while the piece waits for one and the aggregator answers `piece/info`. */
  next?: NextAggregate
  /** The latest error at this stage, how many times it occurred, and the time of the next attempt. */
  trouble?: { message: string; at: string; times: number; again: string }
  /** The reason for the stage `failed`. */
  error?: { name: string; message: string }
}
