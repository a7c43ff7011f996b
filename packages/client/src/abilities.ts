import type {
  AggregateAcceptSuccess,
  AggregateListSuccess,
  AggregateOfferSuccess,
  ConcludeSuccess,
  DealInfoSuccess,
  DealReportSuccess,
  DealWatchSuccess,
  FilecoinAcceptSuccess,
  FilecoinInfoSuccess,
  FilecoinOfferSuccess,
  FilecoinSubmitSuccess,
  PieceAcceptSuccess,
  PieceInfoSuccess,
  PieceOfferSuccess,
  RevokeSuccess,
  SpaceBlobAddSuccess,
  SpaceIndexAddSuccess,
  UploadAddSuccess,
} from '@w3filecoin/capabilities'
import type { AnyLink } from '@w3filecoin/piece'

/**
 * The abilities of the four services, with their arguments (`nb`) and results (`ok`). docs/protocol.md describes each.
 *
 * @example type Result = Abilities['filecoin/info']['ok']
 */
export interface Abilities {
  /** Storefront: offers content as a piece. */
  'filecoin/offer': { nb: Content & { PDP?: AnyLink | undefined }; ok: FilecoinOfferSuccess }
  /** Storefront, for itself: states that the content has the piece. */
  'filecoin/submit': { nb: Content; ok: FilecoinSubmitSuccess }
  /** Storefront, for itself: ends the workflow with the proof. */
  'filecoin/accept': { nb: Content; ok: FilecoinAcceptSuccess }
  /** Storefront: where a piece is. */
  'filecoin/info': {
    nb: { piece: AnyLink; task?: AnyLink | undefined; after?: string | undefined }
    ok: FilecoinInfoSuccess
  }
  /** Storefront: asks for an address to which a blob can be sent. `digest` is a multihash of SHA-256. */
  'space/blob/add': { nb: { blob: { digest: Uint8Array; size: number } }; ok: SpaceBlobAddSuccess }
  /** Storefront: names the index of an uploaded DAG. The storefront does not publish it. */
  'space/index/add': { nb: { index: AnyLink; content?: AnyLink | undefined }; ok: SpaceIndexAddSuccess }
  /** Storefront: names the root of an uploaded DAG. The storefront keeps no list of them. */
  'upload/add': { nb: { root: AnyLink; shards?: AnyLink[] | undefined }; ok: UploadAddSuccess }
  /** Aggregator: offers a piece of a group. */
  'piece/offer': { nb: Grouped; ok: PieceOfferSuccess }
  /** Aggregator, for itself: states the aggregate of a piece, with the inclusion proof. */
  'piece/accept': { nb: Grouped; ok: PieceAcceptSuccess }
  /** Aggregator: where a piece is. */
  'piece/info': { nb: Grouped & { nonce?: string | undefined }; ok: PieceInfoSuccess }
  /** Dealer: offers an aggregate with the list of its pieces. */
  'aggregate/offer': { nb: Aggregated; ok: AggregateOfferSuccess }
  /** Dealer: the offers that are not stored yet, for a broker. */
  'aggregate/list': {
    nb: { after?: string | undefined; limit?: number | undefined }
    ok: AggregateListSuccess
  }
  /** Dealer: a place of an offered aggregate, or why the offer is not stored, from a broker. */
  'deal/report': {
    nb: { offer: string } & ({ place: string; fault?: undefined } | { fault: DealFault; place?: undefined })
    ok: DealReportSuccess
  }
  /** Dealer, for itself: states the place of an aggregate. */
  'aggregate/accept': { nb: Aggregated; ok: AggregateAcceptSuccess }
  /** Deal tracker: the deals and other places of an aggregate, which `aggregate` or `piece` names. */
  'deal/info': { nb: { aggregate: AnyLink } | { piece: AnyLink }; ok: DealInfoSuccess }
  /** Deal tracker: has sources that know deals only by their ids search a deal. */
  'deal/watch': { nb: { dealID: number; source?: string | undefined }; ok: DealWatchSuccess }
  /** Storefront and aggregator: delivers a receipt, whose blocks are attached. */
  'ucan/conclude': { nb: { receipt: AnyLink }; ok: ConcludeSuccess }
  /** Every service: revokes a delegation, whose blocks are attached. */
  'ucan/revoke': { nb: { ucan: AnyLink; proof?: AnyLink[] | undefined }; ok: RevokeSuccess }
}

/** The name of an ability, e.g. `filecoin/offer`. */
export type Ability = keyof Abilities

/**
 * Why an offer is not stored.
 *
 * @example { message: 'One piece is invalid', invalid: [{ piece, message: 'No content has this piece CID' }] }
 */
export interface DealFault {
  /** For people. At most 1,000 characters. */
  message: string
  /** The invalid pieces, each with the reason in at most 500 characters. Absent: none. */
  invalid?: { piece: AnyLink; message: string }[] | undefined
}

interface Content {
  content: AnyLink
  piece: AnyLink
}

interface Grouped {
  piece: AnyLink
  group: string
}

interface Aggregated {
  aggregate: AnyLink
  /** Link of the DAG-CBOR block that lists the pieces. */
  pieces: AnyLink
}
