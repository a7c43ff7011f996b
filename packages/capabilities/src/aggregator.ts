import { capability, Schema } from '@ucanto/validator'
import { covers, type Inclusion, type PieceLink, pieceLink } from './schema.ts'

/**
 * The most bytes of a group's name. It is in the task by which a piece is tried again, and the receipt of a failed
 * aggregate has 95,000 of these: 61 MB with such a name and a nonce, of 64 MiB that are read.
 */
export const MAX_GROUP_BYTES = 128

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

/**
 * A storefront asks where a piece is that it offered. Our own addition to the protocol, by which `filecoin/info` says
 * what a piece waits for.
 */
export const pieceInfo = capability({
  can: 'piece/info',
  /** As in `piece/offer`. */
  with: Schema.did(),
  nb: Schema.struct({
    piece: pieceLink,
    group: Schema.text(),
    /** The nonce that it was offered with, if any. */
    nonce: Schema.text().optional(),
  }),
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

export interface PieceInfoSuccess {
  piece: PieceLink
  /** While it waits for an aggregate: what there is for the next one of its group. */
  next?: NextAggregate
  /** The aggregate that it is in. */
  aggregate?: { aggregate: PieceLink; stage: 'sealed' | 'offered' | 'accepted' | 'failed'; sealed: string }
}

/** The aggregate that a group is collecting for. Numbers are counted as pieces come and go, and may lag behind. */
export interface NextAggregate {
  pieces: number
  /** Padded bytes of these, how many an aggregate has room for, and the least that one is made of. */
  bytes: number
  capacity: number
  minimum: number
  /** When the piece that was asked about will have waited its longest (ISO 8601). */
  sealedBy: string
}
