import { COMMON_FORMATS, recordFormat, type StoresOf, type TableFormats } from '@w3filecoin/runtime'
import type { AggregateRecord } from './domain/aggregate.ts'
import type { PieceRecord } from './domain/piece.ts'
import type { resources } from './resources.ts'

/** The provider of a space, whose pieces are grouped by it. The operator fills this table. */
export interface SpaceRecord {
  space: string
  provider: string
}

/** The records of each table. */
export const tables = {
  ...COMMON_FORMATS,
  piece: recordFormat<PieceRecord>({
    stored: {
      submitTask: 'submit',
      acceptTask: 'accept',
      pieceOfferTask: 'pieceOffer',
      offerNonce: 'queuedWith',
      retryOfferCid: 'retry',
    },
  }),
  aggregate: recordFormat<AggregateRecord>({
    stored: { aggregateOfferCid: 'aggregateOffer', verdictsCid: 'verdicts' },
  }),
  space: recordFormat<SpaceRecord>(),
} satisfies TableFormats<typeof resources>

export type Stores = StoresOf<typeof tables>

/** Where content is read from. */
export interface ContentSource {
  /** Whether the content is there. */
  has(content: string): Promise<boolean>
  /**
   * The bytes of the content, until `signal` aborts; `undefined` while the content is missing. For a CID of codec raw or CAR
   * these are the bytes that hash to the CID.
   */
  open(content: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array> | undefined>
}
