import type {
  AggregateAcceptSuccess,
  AggregateOfferSuccess,
  ConcludeSuccess,
  DealInfoSuccess,
  FilecoinAcceptSuccess,
  FilecoinInfoSuccess,
  FilecoinOfferSuccess,
  FilecoinSubmitSuccess,
  PieceAcceptSuccess,
  PieceInfoSuccess,
  PieceLink,
  PieceOfferSuccess,
  RevokeSuccess,
  UnknownLink,
} from '@w3filecoin/capabilities'

/** The abilities of the four services, with their arguments (`nb`) and results (`ok`). */
export interface Abilities {
  'filecoin/offer': { nb: Content & { PDP?: UnknownLink | undefined }; ok: FilecoinOfferSuccess }
  'filecoin/submit': { nb: Content; ok: FilecoinSubmitSuccess }
  'filecoin/accept': { nb: Content; ok: FilecoinAcceptSuccess }
  'filecoin/info': {
    nb: { piece: PieceLink; task?: UnknownLink | undefined; after?: string | undefined }
    ok: FilecoinInfoSuccess
  }
  'piece/offer': { nb: Grouped; ok: PieceOfferSuccess }
  'piece/accept': { nb: Grouped; ok: PieceAcceptSuccess }
  'piece/info': { nb: Grouped & { nonce?: string | undefined }; ok: PieceInfoSuccess }
  'aggregate/offer': { nb: Aggregated; ok: AggregateOfferSuccess }
  'aggregate/accept': { nb: Aggregated; ok: AggregateAcceptSuccess }
  'deal/info': { nb: { aggregate: PieceLink } | { piece: PieceLink }; ok: DealInfoSuccess }
  'ucan/conclude': { nb: { receipt: UnknownLink }; ok: ConcludeSuccess }
  'ucan/revoke': { nb: { ucan: UnknownLink; proof?: UnknownLink[] | undefined }; ok: RevokeSuccess }
}

export type Ability = keyof Abilities

interface Content {
  content: UnknownLink
  piece: PieceLink
}

interface Grouped {
  piece: PieceLink
  group: string
}

interface Aggregated {
  aggregate: PieceLink
  /** Link of the DAG-CBOR block that lists the pieces. */
  pieces: UnknownLink
}
