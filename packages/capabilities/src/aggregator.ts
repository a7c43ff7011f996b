import { capability, Schema } from '@ucanto/validator'
import { covers, type Inclusion, type PieceLink, pieceLink } from './schema.ts'

/**
 * The greatest length of a group's name, in UTF-8. The receipt of a failed aggregate holds a `piece/offer` task with this
 * name for each of up to 95,000 pieces. With the longest name and a nonce it has 61 MB; readers accept 64 MiB.
 */
export const MAX_GROUP_BYTES = 128

const grouped = Schema.struct({
  piece: pieceLink,
  /** An aggregate has pieces of only one group of one storefront. By convention the DID of a storage provider. */
  group: Schema.text(),
})

/** A storefront asks an aggregator to put a piece into an aggregate. */
export const pieceOffer = capability({
  can: 'piece/offer',
  /** The storefront; or the aggregator, with a delegation to the storefront. */
  with: Schema.did(),
  nb: grouped,
  derives: covers,
})

/** The aggregator's own task. Its receipt names the aggregate of the piece, with the inclusion proof. */
export const pieceAccept = capability({
  can: 'piece/accept',
  /** The aggregator. */
  with: Schema.did(),
  nb: grouped,
  derives: covers,
})

/**
 * A storefront asks for the state of a piece that it offered. An addition of this project to the protocol: with it,
 * `filecoin/info` reports the next step of a piece.
 */
export const pieceInfo = capability({
  can: 'piece/info',
  /** As in `piece/offer`. */
  with: Schema.did(),
  nb: Schema.struct({
    piece: pieceLink,
    group: Schema.text(),
    /** The nonce of its offer, if the offer had one. */
    nonce: Schema.text().optional(),
  }),
  derives: covers,
})

/** The result of `piece/offer`. */
export interface PieceOfferSuccess {
  piece: PieceLink
}

/** The result of `piece/accept`. */
export interface PieceAcceptSuccess {
  piece: PieceLink
  aggregate: PieceLink
  inclusion: Inclusion
}

/** The result of `piece/info`. */
export interface PieceInfoSuccess {
  /** The piece in the question. */
  piece: PieceLink
  /** The next aggregate of the group. Absent once the piece is in an aggregate. */
  next?: NextAggregate
  /** The aggregate that the piece is in. `sealed` is the time of sealing (ISO 8601). */
  aggregate?: { aggregate: PieceLink; stage: 'sealed' | 'offered' | 'accepted' | 'failed'; sealed: string }
}

/**
 * The pieces that a group collects for its next aggregate. The counters are approximate: they are updated as pieces arrive
 * and are sealed.
 *
 * @example `{ pieces: 812, bytes: 21474836480, capacity: 34359738368, minimum: 17179869184, sealedBy: '2024-12-04T10:00:00.000Z' }`
 */
export interface NextAggregate {
  /** Number of pieces. */
  pieces: number
  /** Their padded bytes. */
  bytes: number
  /** Padded bytes that an aggregate has room for: a full aggregate is sealed. */
  capacity: number
  /** The least padded bytes of pieces that the aggregator seals, unless they are very many. */
  minimum: number
  /** Time at which the piece has waited its maximum (ISO 8601). From then on the minimum suffices to seal. */
  sealedBy: string
  /** Since when the piece waits only because the group is below its minimum (ISO 8601). Absent if it does not. */
  belowMinimumSince?: string
}
