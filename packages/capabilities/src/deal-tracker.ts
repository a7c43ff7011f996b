import { capability, Schema } from '@ucanto/validator'
import { covers, pieceLink } from './schema.ts'

/** A client of the tracker asks for the deals of an aggregate. */
export const dealInfo = capability({
  can: 'deal/info',
  /** The issuer, which the tracker has as a client; or the tracker, with a delegation to the issuer. */
  with: Schema.did(),
  nb: Schema.struct({
    /** Piece CID of the aggregate. */
    piece: pieceLink,
  }),
  derives: covers,
})

/**
 * The result of `deal/info`.
 *
 * @example `{ deals: { '81234567': { provider: 'f020378', storageProvider: 'f020378', status: 'Active', pieceCid: 'baga…',
 * expiration: '2026-05-14T20:30:00.000Z', created: '2024-12-04T10:00:00.000Z', updated: '2024-12-04T10:00:00.000Z' } } }`
 */
export interface DealInfoSuccess {
  /** Every known deal of the piece, by deal id. */
  deals: Record<string, Deal>
}

/** A deal, as `deal/info` reports it. Times are ISO 8601 in UTC. */
export interface Deal {
  /** Address of the storage provider, e.g. `f020378`. Published clients read this field. */
  provider: string
  /** The same address. */
  storageProvider: string
  /** `Active`, `Expired` (past its end) or `Terminated` (the sources dropped it before its end). */
  status: string
  /** Piece CID v1 of the aggregate, as the chain names it, e.g. `baga…`. */
  pieceCid: string
  dataCid?: string
  dataModelSelector?: string
  activation?: string
  /** The end of the deal. */
  expiration: string
  /** Time at which the tracker saw the deal first. */
  created: string
  /** Time of its last change. */
  updated: string
}
