import { capability, Schema } from '@ucanto/validator'
import type { Place } from './place.ts'
import type { Failure } from './result.ts'
import { covers, type PieceLink, pieceLink } from './schema.ts'

/** A client of the tracker asks for the deals of an aggregate. */
export const dealInfo = capability({
  can: 'deal/info',
  /** The issuer, which the tracker has as a client; or the tracker, with a delegation to the issuer. */
  with: Schema.did(),
  nb: Schema.struct({
    /** Piece CID of the aggregate. */
    aggregate: pieceLink.optional(),
    /** The same, under the name that published clients use. An invocation has one of the two. */
    piece: pieceLink.optional(),
  }),
  derives: (claim, delegated) => covers({ ...claim, nb: nameAggregate(claim.nb) }, delegated),
})

/**
 * A client has the tracker search a deal of the built-in market, so that a source which knows deals only by their ids reads it. An
 * addition of this project to the protocol.
 */
export const dealWatch = capability({
  can: 'deal/watch',
  /** As in `deal/info`. */
  with: Schema.did(),
  nb: Schema.struct({
    /** Id of the deal. */
    dealID: Schema.integer().greaterThan(0),
    /** Name of the source. Default: every source that searches reported deals. */
    source: Schema.text().optional(),
  }),
  derives: covers,
})

/** The result of `deal/watch`. */
export interface DealWatchSuccess {
  /** Names of the sources that search the deal. */
  sources: string[]
}

/** The caveats of `deal/info`. */
export interface DealInfoQuestion {
  aggregate?: PieceLink | undefined
  piece?: PieceLink | undefined
}

/** Fills in the absent name of the aggregate, so that a delegation with either name covers a claim with the other one. */
const nameAggregate = ({ aggregate, piece }: DealInfoQuestion): DealInfoQuestion => ({
  aggregate: aggregate ?? piece,
  piece: piece ?? aggregate,
})

/**
 * The result of `deal/info`. It is a success if a deal or a place is known.
 *
 * @example `{ deals: { '81234567': { provider: 'f020378', storageProvider: 'f020378', status: 'Active', pieceCid: 'baga…',
 * expiration: '2026-05-14T20:30:00.000Z', created: '2024-12-04T10:00:00.000Z', updated: '2024-12-04T10:00:00.000Z',
 * seen: { at: '2024-12-04T10:00:00.000Z', epoch: 4498560 } } }, places: [], asOf: [{ source: 'spade',
 * at: '2025-01-07T08:00:00.000Z', epoch: 4596245 }] }`
 */
export interface DealInfoSuccess {
  /** Every known deal of the piece, by deal id. */
  deals: Record<string, Deal>
  /** Where else the piece is on chain: every known place that is no deal of the built-in market. */
  places: PlaceStatus[]
  /** How recent the knowledge of each source is. Sources report deals late, so absence is known only for this time. */
  asOf: SourceState[]
}

/** The failure of `deal/info` if neither a deal nor a place of the piece is known. */
export interface DealNotFound extends Failure {
  name: 'DealNotFound'
  piece: PieceLink
  /** As in {@link DealInfoSuccess}. Empty if the tracker has no source: then it knows nothing. */
  asOf: SourceState[]
}

/** A source of the deal tracker, and its last good run: the tracker accepted a complete report, and stored its changes. */
export interface SourceState {
  /** Name of the source, e.g. `spade`. */
  source: string
  /** The kinds of places that it can see. Absent in answers of earlier versions: only deals. */
  types?: (Place['type'] | 'provider')[]
  /** Time of its last good run, ISO 8601 in UTC. Absent if there was none. */
  at?: string
  /** Epoch of the chain state that the run read. Absent if there was none. */
  epoch?: number
}

/** A deal, as `deal/info` reports it. Times are ISO 8601 in UTC. */
export interface Deal {
  /** Address of the storage provider, e.g. `f020378`. Published clients read this field. */
  provider: string
  /** The same address. */
  storageProvider: string
  /** `Active`, `Expired` (past its end) or `Terminated` (the sources dropped it before its end). */
  status: string
  /** Why it was terminated, in a sentence, if a source has said so. `updated` is the time at which the tracker learned it. */
  reason?: string
  /** Piece CID v1 of the aggregate, as the chain names it, e.g. `baga…`. */
  pieceCid: string
  /** CID of the data in the aggregate, e.g. `bafybei…`, if a source reports it. */
  dataCid?: string
  dataModelSelector?: string
  /** Time at which the deal became active, if a source reports it. */
  activation?: string
  /** Label of the deal. The name of an offer document means that the deal is for this offer, e.g. `bafkzci…/kD3wbPzc….json`. */
  label?: string
  /** The client of the deal, e.g. `f01131298`. */
  client?: string
  /** The end of the deal. */
  expiration: string
  /** Time at which the tracker saw the deal first. */
  created: string
  /** Time of its last change. */
  updated: string
  /** The report that showed the deal first: its time, and the epoch of its chain state. Absent for deals of earlier code. */
  seen?: { at: string; epoch: number }
}

/**
 * A place of the piece on chain other than a deal of the built-in market, as `deal/info` reports it. Times are ISO 8601 in UTC.
 *
 * @example { type: 'sector', key: 'sector:f020378/77', provider: 'f020378', status: 'Active', pieceCid: 'baga…', epoch: 6543210,
 * since: '2026-11-25T10:00:00.000Z', expiration: '2028-05-14T20:30:00.000Z', seen: { at: '2026-11-25T11:00:00.000Z', epoch: 6543100 } }
 */
export interface PlaceStatus {
  /** The kind of the place. `provider`: the source says which provider has the piece, and not where. */
  type: 'sector' | 'pdp' | 'provider'
  /** Key of the place: see {@link toPlaceKey}. Of type `provider`, the address of the provider. */
  key: string
  /** The storage provider: its address, e.g. `f020378`, or its id in the registry of PDP providers, e.g. `pdp:3`. */
  provider: string
  /**
   * `Active`; `Pending` (on chain, and not proven yet); `Leaving` (its removal is scheduled); `Expired` (past its end) or
   * `Terminated` (gone before its end). Only `Active` is live.
   */
  status: 'Active' | 'Pending' | 'Leaving' | 'Expired' | 'Terminated'
  /** The provider misses proofs. The place still counts as live. */
  faulty?: true
  /** Time at which the tracker learned that the place is gone. Only of a terminated one. */
  ended?: string
  /** Why it was terminated, in a sentence, if a source has said so, e.g. `The sector was terminated`. */
  reason?: string
  /** Piece CID v1 of the aggregate, as the chain names it, e.g. `baga…`. */
  pieceCid: string
  /** Time at which it became live, if the source reports it. */
  since?: string
  /** Time of its last proof, if the source reports it. */
  lastProof?: string
  /** Its end. Absent if it has none, or the source does not know it. */
  expiration?: string
  /** Epoch of the chain state in which a source last reported it. Absent if no good run of the source has reported it yet. */
  epoch?: number
  /** The report that showed it first: its time, and the epoch of its chain state. */
  seen?: { at: string; epoch: number }
}
