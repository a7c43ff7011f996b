import type { Link, Principal, Signer } from '@ucanto/interface'
import { capability, Schema } from '@ucanto/validator'
import { buildTask, type Distinguished } from '../build-task.ts'
import { covers, type PieceLink, pieceLink } from '../schema.ts'

/**
 * Draft 3 of the protocol, which `@web3-storage/filecoin-client` 1.3.0 and 1.4.0 speak. Offers have abilities of their own; the
 * tasks that the services promise are those of draft 2.
 */

/** An agent asks a storefront to store content in Filecoin. */
export const filecoinQueue = capability({
  can: 'filecoin/queue',
  /** The space that holds the content. */
  with: Schema.did(),
  nb: Schema.struct({
    /** CID of the content. */
    content: Schema.link(),
    /** Piece CID of the content. */
    piece: pieceLink,
  }),
  derives: covers,
})

/** A storefront asks an aggregator to put a piece into an aggregate. */
export const aggregateQueue = capability({
  can: 'aggregate/queue',
  /** The storefront; or the aggregator, with a delegation to the storefront. */
  with: Schema.did(),
  nb: Schema.struct({ piece: pieceLink, group: Schema.text() }),
  derives: covers,
})

/** An aggregator asks a dealer to make deals for an aggregate. */
export const dealQueue = capability({
  can: 'deal/queue',
  /** The aggregator; or the dealer, with a delegation to the aggregator. */
  with: Schema.did(),
  nb: Schema.struct({
    aggregate: pieceLink,
    /** Link of the attached block that lists the pieces: a DAG-CBOR array of piece links. */
    pieces: Schema.link({ version: 1 }),
    /** The storefront whose pieces the aggregate has. */
    storefront: Schema.text(),
    label: Schema.text().optional(),
  }),
  derives: covers,
})

/** A client asks the deal tracker for the deals of an aggregate. */
export const dealtrackerInfo = capability({
  can: 'dealtracker/info',
  /** The issuer; or the tracker, with a delegation to the issuer. */
  with: Schema.did(),
  nb: Schema.struct({ piece: pieceLink }),
  derives: covers,
})

/** Builds an `aggregate/queue` invocation. */
export const aggregateQueueTask = (
  issuer: Signer,
  aggregator: Principal,
  { piece, group, nonce }: { piece: PieceLink; group: string } & Distinguished,
) => buildTask({ issuer, audience: aggregator, can: 'aggregate/queue', nb: { piece, group }, nonce })

/** Builds a `deal/queue` invocation. The caller attaches the block that lists the pieces. */
export const dealQueueTask = (
  issuer: Signer,
  dealer: Principal,
  {
    nb,
    ...options
  }: {
    nb: { aggregate: PieceLink; pieces: Link; storefront: string; label: string }
  } & Distinguished,
) => buildTask({ issuer, audience: dealer, can: 'deal/queue', nb, ...options })

/** Builds a question to a deal tracker. */
export const infoTask = (
  issuer: Signer,
  tracker: Principal,
  { piece, nonce }: { piece: PieceLink; nonce: string },
) => buildTask({ issuer, audience: tracker, can: 'dealtracker/info', nb: { piece }, nonce })
