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
import type { OrderRecord } from './domain/order.ts'
import type { TargetRecord } from './domain/policy.ts'
import type { PartRecord, WholeRecord } from './domain/whole.ts'
import type { resources } from './resources.ts'
import { workflows } from './workflows.ts'

/** The documents in which deal making finds the aggregates that need deals. */
export interface OfferDocuments {
  /** Writes or replaces a document, and resolves when it is durable. */
  put(name: string, document: OfferDocument): Promise<void>
}

/** The payloads of whole aggregates, each an object that is written in parts. */
export interface WholeObjects {
  /** Begins to write an object. Returns the id of the upload. */
  begin(aggregate: string): Promise<string>
  /** Writes a part, which counts from 0. Returns its tag; `undefined` if the upload does not exist any more. */
  putPart(upload: WholeUpload & { part: number; bytes: Uint8Array }): Promise<string | undefined>
  /** Makes the object of all parts. Returns whether it exists then. May be repeated. */
  complete(upload: WholeUpload & { etags: readonly string[]; bytes: number }): Promise<boolean>
  /** Removes the parts of an upload that is not needed. */
  abort(upload: WholeUpload): Promise<void>
  /** Returns a URL of the object for some minutes, by GET, also in ranges. */
  locate(aggregate: string): Promise<string>
  remove(aggregate: string): Promise<void>
}

interface WholeUpload {
  aggregate: string
  upload: string
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
  order: recordFormat<OrderRecord>({ workflow: workflows.order }),
  target: recordFormat<TargetRecord>(),
  whole: recordFormat<WholeRecord>({ workflow: workflows.whole }),
  part: recordFormat<PartRecord>(),
  translation: recordFormat<TranslationRecord>(),
  peer: recordFormat<PeerRecord>(),
} satisfies TableFormats<typeof resources>

export type Stores = StoresOf<typeof tables>
