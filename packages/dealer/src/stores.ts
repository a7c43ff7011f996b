import {
  COMMON_FORMATS,
  type PeerRecord,
  recordFormat,
  type StoresOf,
  type TableFormats,
  type TranslationRecord,
} from '@w3filecoin/runtime'
import { type AggregateRecord, upgradeAggregate } from './domain/aggregate.ts'
import type { CreditRecord } from './domain/credit.ts'
import type { OfferDocument } from './domain/offer-document.ts'
import type { resources } from './resources.ts'
import { workflows } from './workflows.ts'

/** The documents in which deal making finds the aggregates that need deals. */
export interface OfferDocuments {
  /** Writes or replaces a document, and resolves when it is durable. */
  put(name: string, document: OfferDocument): Promise<void>
}

/** The format of the records in each table. */
export const tables = {
  ...COMMON_FORMATS,
  aggregate: recordFormat<AggregateRecord>({
    version: 2,
    upgrade: upgradeAggregate,
    workflow: workflows.aggregate,
    stored: {
      piecesCid: 'pieces',
      acceptTask: 'accept',
      refusedOfferCid: 'refused',
      retriesCid: 'retries',
      rangesToRetry: 'openRanges',
    },
  }),
  credit: recordFormat<CreditRecord>(),
  translation: recordFormat<TranslationRecord>(),
  peer: recordFormat<PeerRecord>(),
} satisfies TableFormats<typeof resources>

export type Stores = StoresOf<typeof tables>
