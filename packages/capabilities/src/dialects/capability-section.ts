import type { Link, Principal, Signer } from '@ucanto/interface'
import { capability, Schema } from '@ucanto/validator'
import { buildTask, type Distinguished } from '../build-task.ts'
import { covers, type PieceLink, pieceLink } from '../schema.ts'

/**
 * The names that the section "Capabilities" of the protocol gives to the abilities of the aggregator and of the dealer. Its
 * table of contents and its schemas, which published clients follow, have others.
 */

const grouped = Schema.struct({ piece: pieceLink, group: Schema.text() })

/** A storefront asks an aggregator to put a piece into an aggregate: `piece/offer` of the protocol. */
export const aggregateOffer = capability({
  can: 'aggregate/offer',
  /** The storefront; or the aggregator, with a delegation to the storefront. */
  with: Schema.did(),
  nb: grouped,
  derives: covers,
})

/** The aggregator's own task: `piece/accept` of the protocol. */
export const aggregateAccept = capability({
  can: 'aggregate/accept',
  /** The aggregator. */
  with: Schema.did(),
  nb: grouped,
  derives: covers,
})

/** An aggregator asks a dealer to make deals for an aggregate: `aggregate/offer` of the protocol. */
export const dealOffer = capability({
  can: 'deal/offer',
  /** The storefront, the aggregator or the dealer, as in `aggregate/offer`. */
  with: Schema.did(),
  nb: Schema.struct({
    aggregate: pieceLink,
    /** Link of the attached block that lists the pieces: a DAG-CBOR array of piece links. */
    pieces: Schema.link({ version: 1 }),
  }),
  derives: covers,
})

/** The dealer's own task: `aggregate/accept` of the protocol. */
export const dealAccept = capability({
  can: 'deal/accept',
  /** The dealer. */
  with: Schema.did(),
  nb: Schema.struct({ aggregate: pieceLink, pieces: Schema.link() }),
  derives: covers,
})

/** Builds an `aggregate/offer` invocation. */
export const aggregateOfferTask = (
  issuer: Signer,
  aggregator: Principal,
  { piece, group, nonce }: { piece: PieceLink; group: string } & Distinguished,
) => buildTask({ issuer, audience: aggregator, can: 'aggregate/offer', nb: { piece, group }, nonce })

/** Builds the aggregator's `aggregate/accept`. */
export const aggregateAcceptTask = (
  aggregator: Signer,
  { piece, group, ...options }: { piece: PieceLink; group: string } & Distinguished,
) =>
  buildTask({
    issuer: aggregator,
    audience: aggregator,
    can: 'aggregate/accept',
    nb: { piece, group },
    ...options,
  })

interface Aggregated {
  aggregate: PieceLink
  pieces: Link
}

/** Builds a `deal/offer` invocation. The caller attaches the block that lists the pieces. */
export const dealOfferTask = (
  issuer: Signer,
  dealer: Principal,
  { aggregate, pieces, ...options }: Aggregated & Distinguished,
) =>
  buildTask({
    issuer,
    audience: dealer,
    can: 'deal/offer',
    nb: { aggregate, pieces },
    ...options,
  })

/** Builds the dealer's `deal/accept`. */
export const dealAcceptTask = (
  dealer: Signer,
  { aggregate, pieces, ...options }: Aggregated & Distinguished,
) =>
  buildTask({
    issuer: dealer,
    audience: dealer,
    can: 'deal/accept',
    nb: { aggregate, pieces },
    ...options,
  })

/** Builds a question to a deal tracker. Its schema names the aggregate as `aggregate`. */
export const infoTask = (
  issuer: Signer,
  tracker: Principal,
  { piece, nonce }: { piece: PieceLink; nonce: string },
) => buildTask({ issuer, audience: tracker, can: 'deal/info', nb: { aggregate: piece }, nonce })
