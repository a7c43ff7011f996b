import type { Blocks, ReceiptLog, Table } from '@w3filecoin/runtime'
import type { DealRecord } from './domain/deal.ts'
import type { SourceRecord } from './domain/source.ts'

export interface Stores {
  deals: Table<DealRecord>
  sources: Table<SourceRecord>
  receipts: ReceiptLog
  blocks: Blocks
}
