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
  PieceOfferSuccess,
  RevokeSuccess,
} from '@w3filecoin/capabilities'
import type { AnyLink } from '@w3filecoin/piece'

/** The abilities of the four services, with their arguments (`nb`) and results (`ok`). */
export interface Abilities {
  'filecoin/offer': { nb: Content & { PDP?: AnyLink | undefined }; ok: FilecoinOfferSuccess }
  'filecoin/submit': { nb: Content; ok: FilecoinSubmitSuccess }
  'filecoin/accept': { nb: Content; ok: FilecoinAcceptSuccess }
  'filecoin/info': {
    nb: { piece: AnyLink; task?: AnyLink | undefined; after?: string | undefined }
    ok: FilecoinInfoSuccess
  }
  'piece/offer': { nb: Grouped; ok: PieceOfferSuccess }
  'piece/accept': { nb: Grouped; ok: PieceAcceptSuccess }
  'piece/info': { nb: Grouped & { nonce?: string | undefined }; ok: PieceInfoSuccess }
  'aggregate/offer': { nb: Aggregated; ok: AggregateOfferSuccess }
  'aggregate/accept': { nb: Aggregated; ok: AggregateAcceptSuccess }
  'deal/info': { nb: { aggregate: AnyLink } | { piece: AnyLink }; ok: DealInfoSuccess }
  'ucan/conclude': { nb: { receipt: AnyLink }; ok: ConcludeSuccess }
  'ucan/revoke': { nb: { ucan: AnyLink; proof?: AnyLink[] | undefined }; ok: RevokeSuccess }
}

export type Ability = keyof Abilities

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
