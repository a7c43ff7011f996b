import type { ReceiptLog, Table } from '@w3filecoin/service'
import type { AggregateRecord } from './domain/aggregate.ts'
import type { PieceRecord } from './domain/piece.ts'

/** The provider that a space has; the operator fills this table. */
export interface SpaceRecord {
  space: string
  provider: string
}

export interface Stores {
  pieces: Table<PieceRecord>
  aggregates: Table<AggregateRecord>
  spaces: Table<SpaceRecord>
  receipts: ReceiptLog
}

/** Where content is read from. */
export interface ContentSource {
  /** The bytes of the content; `undefined` while it is not there. */
  open(content: string): Promise<AsyncIterable<Uint8Array> | undefined>
}
