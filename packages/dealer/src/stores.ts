import type { Blocks, ReceiptLog, Table } from '@w3filecoin/runtime'
import type { AggregateRecord } from './domain/aggregate.ts'
import type { OfferDocument } from './domain/offer-document.ts'

/** Where deal making finds the aggregates that deals are wanted for. */
export interface OfferDocuments {
  /** Writes a document; resolves when it is durable. Writing it again replaces it. */
  put(name: string, document: OfferDocument): Promise<void>
}

export interface Stores {
  aggregates: Table<AggregateRecord>
  receipts: ReceiptLog
  blocks: Blocks
  offers: OfferDocuments
}
