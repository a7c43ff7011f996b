import { capability, Schema } from '@ucanto/validator'
import { covers, pieceLink } from './schema.ts'

/** Anybody whom the tracker lists asks for the deals of an aggregate. */
export const dealInfo = capability({
  can: 'deal/info',
  /** The one who asks, or the tracker with a delegation to the one who asks. */
  with: Schema.did(),
  nb: Schema.struct({
    /** Piece CID of the aggregate. */
    piece: pieceLink,
  }),
  derives: covers,
})

export interface DealInfoSuccess {
  /** Every known deal by its deal id. */
  deals: Record<string, Deal>
}

export interface Deal {
  /** Address of the storage provider, `f0…`. Twice, because published clients read `provider`. */
  provider: string
  storageProvider: string
  /** `Active`; `Expired` after its end; `Terminated` when the chain stopped telling of it before its end. */
  status: string
  /** Piece CID of the aggregate as the chain names it (v1). */
  pieceCid: string
  dataCid?: string
  dataModelSelector?: string
  /** Times are ISO 8601. */
  activation?: string
  expiration: string
  /** When the tracker saw the deal first, and when it changed last. */
  created: string
  updated: string
}
