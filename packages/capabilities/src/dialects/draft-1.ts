import type { Link, Principal, Signer } from '@ucanto/interface'
import { capability, Schema } from '@ucanto/validator'
import { buildTask, type Distinguished } from '../build-task.ts'
import { covers, type PieceLink, pieceLink, type UnknownLink } from '../schema.ts'

/** Draft 1 of the protocol, "CAR Aggregation Protocol", and the note before it that grouped pieces by provider. */

const linked = Schema.struct({
  /** CID of the content. */
  link: Schema.link(),
  /** Piece CID of the content. */
  piece: pieceLink,
})

/** An agent asks a storefront to store content in Filecoin. */
export const pieceAdd = capability({
  can: 'piece/add',
  /** The space that holds the content. */
  with: Schema.did(),
  nb: linked,
  derives: covers,
})

/** The storefront's own task: check that the content has the piece CID, then offer the piece to the aggregator. */
export const pieceVerify = capability({
  can: 'piece/verify',
  /** The storefront. */
  with: Schema.did(),
  nb: linked,
  derives: covers,
})

/** A storefront asks an aggregator to put a piece into an aggregate. */
export const pieceOffer = capability({
  can: 'piece/offer',
  /** The storefront; or the aggregator, with a delegation to the storefront. */
  with: Schema.did(),
  nb: Schema.struct({
    piece: pieceLink,
    /** The provider of the space that holds the content: the group of the piece. */
    provider: Schema.text(),
    /** CID of the content. Only the note before draft 1 has it. */
    link: Schema.link().optional(),
  }),
  derives: covers,
})

/**
 * The aggregator's task for the storefront: the piece is in an aggregate. It is promised before the aggregate is known, so the
 * promised task has only the piece.
 */
export const aggregateArrange = capability({
  can: 'aggregate/arrange',
  /** The aggregator. */
  with: Schema.did(),
  nb: Schema.struct({ piece: pieceLink, aggregate: pieceLink.optional() }),
  derives: covers,
})

/** An aggregator asks a dealer ("broker") to make deals for an aggregate. */
export const aggregateOffer = capability({
  can: 'aggregate/offer',
  /** The aggregator; or the dealer, with a delegation to the aggregator. */
  with: Schema.did(),
  nb: Schema.struct({
    /** Link of the attached block that lists the pieces: a DAG-CBOR array of piece links. */
    offer: Schema.link({ version: 1 }),
    /** Piece CID of the aggregate. */
    piece: pieceLink,
  }),
  derives: covers,
})

/** The dealer's task for the aggregator: deals are made for the aggregate. */
export const offerArrange = capability({
  can: 'offer/arrange',
  /** The dealer. */
  with: Schema.did(),
  nb: Schema.struct({ piece: pieceLink }),
  derives: covers,
})

/** A storefront or an aggregator asks a dealer for the deals of an aggregate. */
export const aggregateGet = capability({
  can: 'aggregate/get',
  /** The issuer; or the dealer, with a delegation to the issuer. */
  with: Schema.did(),
  nb: Schema.struct({ piece: pieceLink }),
  derives: covers,
})

/** Builds the storefront's `piece/verify`. */
export const verifyTask = (
  storefront: Signer,
  { link, piece, ...options }: { link: UnknownLink; piece: PieceLink } & Distinguished,
) =>
  buildTask({
    issuer: storefront,
    audience: storefront,
    can: 'piece/verify',
    nb: { link, piece },
    ...options,
  })

/** Builds a `piece/offer` invocation. */
export const offerTask = (
  issuer: Signer,
  aggregator: Principal,
  { piece, provider, nonce }: { piece: PieceLink; provider: string } & Distinguished,
) => buildTask({ issuer, audience: aggregator, can: 'piece/offer', nb: { piece, provider }, nonce })

/** Builds the aggregator's `aggregate/arrange` for a storefront. */
export const arrangeTask = (
  aggregator: Signer,
  storefront: Principal,
  { piece, ...options }: { piece: PieceLink } & Distinguished,
) =>
  buildTask({
    issuer: aggregator,
    audience: storefront,
    can: 'aggregate/arrange',
    nb: { piece },
    ...options,
  })

/** Builds an `aggregate/offer` invocation. The caller attaches the block that lists the pieces. */
export const aggregateOfferTask = (
  issuer: Signer,
  dealer: Principal,
  { aggregate, pieces, ...options }: { aggregate: PieceLink; pieces: Link } & Distinguished,
) =>
  buildTask({
    issuer,
    audience: dealer,
    can: 'aggregate/offer',
    nb: { offer: pieces, piece: aggregate },
    ...options,
  })

/** Builds the dealer's `offer/arrange` for an aggregator. */
export const offerArrangeTask = (
  dealer: Signer,
  aggregator: Principal,
  { aggregate, ...options }: { aggregate: PieceLink } & Distinguished,
) =>
  buildTask({
    issuer: dealer,
    audience: aggregator,
    can: 'offer/arrange',
    nb: { piece: aggregate },
    ...options,
  })

/** Builds a question to a dealer for the deals of an aggregate. */
export const infoTask = (
  issuer: Signer,
  dealer: Principal,
  { piece, nonce }: { piece: PieceLink; nonce: string },
) => buildTask({ issuer, audience: dealer, can: 'aggregate/get', nb: { piece }, nonce })
