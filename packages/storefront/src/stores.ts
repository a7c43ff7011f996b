import { COMMON_FORMATS, recordFormat, type StoresOf, type TableFormats } from '@w3filecoin/runtime'
import type { AggregateRecord } from './domain/aggregate.ts'
import type { PieceRecord } from './domain/piece.ts'
import type { resources } from './resources.ts'

/**
 * The provider of a space, which becomes the group of its pieces. The operator fills this table.
 *
 * @example { space: 'did:key:z6Mk…', provider: 'did:web:example.com' }
 */
export interface SpaceRecord {
  space: string
  provider: string
}

/** The record format of each table. */
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
