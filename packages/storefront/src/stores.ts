import type { Blocks, ReceiptLog, Table } from '@w3filecoin/runtime'
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
  blocks: Blocks
}

/** Where content is read from. */
export interface ContentSource {
  /** Whether the content is there. */
  has(content: string): Promise<boolean>
  /**
   * The bytes of the content, until `signal` comes; `undefined` while it is not there. Those that hash to its CID, where that
   * is of codec raw or CAR.
   */
  open(content: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array> | undefined>
}
