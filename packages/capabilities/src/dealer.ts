import { capability, Schema } from '@ucanto/validator'
import type { SourceState } from './deal-tracker.ts'
import { type DealMetadata, isPlaceKey } from './place.ts'
import type { Failure } from './result.ts'
import { covers, type PieceLink, pieceLink, type UnknownLink } from './schema.ts'

/** An aggregator asks a dealer to make deals for an aggregate. */
export const aggregateOffer = capability({
  can: 'aggregate/offer',
  /** The aggregator; or the dealer, with a delegation to the aggregator. */
  with: Schema.did(),
  nb: Schema.struct({
    aggregate: pieceLink,
    /**
     * Link of the block that lists the pieces: a DAG-CBOR array of piece links, in the order of the aggregate. The block
     * is attached to the invocation.
     */
    pieces: Schema.link({ version: 1 }),
  }),
  derives: covers,
})

/** The dealer's own task. Its receipt names a place of the aggregate on chain, or the reason for a failure. */
export const aggregateAccept = capability({
  can: 'aggregate/accept',
  /** The dealer. */
  with: Schema.did(),
  nb: Schema.struct({ aggregate: pieceLink, pieces: Schema.link() }),
  derives: covers,
})

/** The greatest number of offers in one answer to `aggregate/list`. */
export const MAX_LISTED_OFFERS = 100

/** A broker asks a dealer for the offers that need a deal. An addition of this project to the protocol. */
export const aggregateList = capability({
  can: 'aggregate/list',
  /** The broker, which the dealer lists; or the dealer, with a delegation to the broker. */
  with: Schema.did(),
  nb: Schema.struct({
    /** `next` of an earlier answer: the answer has the offers after it. */
    after: Schema.text().optional(),
    /** At most this many offers. Default: {@link MAX_LISTED_OFFERS}, which is the greatest number. */
    limit: Schema.integer()
      .greaterThan(0)
      .lessThan(MAX_LISTED_OFFERS + 1)
      .optional(),
  }),
  derives: covers,
})

/** A reason for which an offer gets no deal. */
export interface DealFault {
  /** For people. At most 1,000 characters. */
  message: string
  /** The pieces that are invalid, each with the reason in at most 500 characters. Absent: none. The other pieces are retried. */
  invalid?: { piece: PieceLink; message: string }[] | undefined
}

const placeKey = Schema.text().refine({
  read: (text: string) =>
    isPlaceKey(text) ? { ok: text } : Schema.error(`Expected the key of a place instead got ${text}`),
} as never) as unknown as Schema.Schema<string>

/**
 * A broker reports a place of an offered aggregate, or that the offer gets no deal. The dealer believes no place before the deal
 * tracker sees it. An addition of this project to the protocol.
 */
export const dealReport = capability({
  can: 'deal/report',
  /** As in `aggregate/list`. */
  with: Schema.did(),
  nb: Schema.struct({
    /** Name of the offer: `offer` of `aggregate/list`, which is the name of the offer document. */
    offer: Schema.text(),
    /** Key of the place: see `toPlaceKey`. An invocation has either a place or a fault. */
    place: placeKey.optional(),
    fault: Schema.struct({
      message: Schema.text(),
      invalid: Schema.struct({ piece: pieceLink, message: Schema.text() }).array().optional(),
    }).optional(),
  }),
  derives: (claim, delegated) =>
    covers({ ...claim, nb: writeFault(claim.nb) }, { ...delegated, nb: writeFault(delegated.nb) }),
})

/** Writes the fault as text, so that a delegation with a fault covers this one only. */
const writeFault = <N extends { fault?: DealFault | undefined }>({ fault, ...nb }: N): object => ({
  ...nb,
  ...(fault && {
    fault: JSON.stringify([
      fault.message,
      (fault.invalid ?? []).map(({ piece, message }) => [`${piece}`, message]),
    ]),
  }),
})

/** The result of `aggregate/offer`. */
export interface AggregateOfferSuccess {
  aggregate: PieceLink
}

/**
 * The result of `aggregate/accept`.
 *
 * @example `{ aggregate: bafkzci…, dataType: 0, dataSource: { dealID: 81234567 } }`
 */
export type AggregateAcceptSuccess = DealMetadata & { aggregate: PieceLink }

/** The result of `aggregate/list`. */
export interface AggregateListSuccess {
  /** The offers, the oldest first. There may be fewer than `limit` although there is a next page. */
  aggregates: OpenOffer[]
  /** Pass it as `after` to get the next page. Absent on the last page. */
  next?: string
}

/**
 * An offer that needs a deal.
 *
 * @example `{ offer: 'bafkzci…/kD3wbPzc….json', aggregate: bafkzci…, pieces: bafyrei…, piecesUrl: 'https://…',
 * source: 'https://storefront.example/piece/1769904000.bafkzci….x3Fq…/{piece}', collection: 'free', tenant: 'did:web:store.example',
 * group: 'free', label: 'free #7', orderID: 1767225600000 }`
 */
export interface OpenOffer {
  /** Name of the offer, for `deal/report`. A deal with this label is for this offer. */
  offer: string
  /** Piece CID of the aggregate. */
  aggregate: PieceLink
  /** Link of the DAG-CBOR block that lists the pieces, as in `aggregate/offer`. */
  pieces: UnknownLink
  /** URL of that block for some minutes. The block must hash to the link. */
  piecesUrl: string
  /** URL of each piece, with `{piece}` in place of its CID. Absent if the dealer has none for the storefront. */
  source?: string
  /** Name under which deal making collects deals: the group. */
  collection: string
  /** The storefront that the pieces are from. */
  tenant: string
  /** The group of the pieces. */
  group: string
  /** Name of the aggregate for people, e.g. `free #7`. */
  label: string
  /** When the aggregate was offered, in milliseconds since 1970. */
  orderID: number
  /** URL of the payload of the whole aggregate, with a permit. Absent if the dealer has not built it. */
  whole?: string
}

/**
 * The result of `deal/report`.
 *
 * @example `{ stage: 'offered', status: 'Pending', asOf: [{ source: 'market', at: '2025-01-07T08:00:00.000Z', epoch: 4596245 }] }`
 */
export interface DealReportSuccess {
  /** The present stage of the offer: only the deal tracker makes it `accepted`. */
  stage: 'offered' | 'accepted' | 'failed'
  /** The status of the reported place, as `deal/info` reports it now. Absent if the deal tracker does not know the place. */
  status?: string
  /** How recent the knowledge of the deal tracker is. Absent if it was not asked: for a fault, and for an offer that has ended. */
  asOf?: SourceState[]
}

/** Whether a refusal of `aggregate/offer` names the invalid pieces of the aggregate. Every other refusal may change. */
export const namesInvalidPieces = ({ name, cause }: Failure): boolean =>
  name === 'InvalidPiece' && Array.isArray(cause) && cause.length > 0

/** The errors of `aggregate/accept` that decide about an aggregate. Every other error concerns one request, and may pass. */
const FAILURES = new Set(['DealNotFound', 'InvalidPiece'])

/** Whether an error of `aggregate/accept` ends the aggregate. */
export const endsAggregate = ({ name }: Failure): boolean => FAILURES.has(name)
