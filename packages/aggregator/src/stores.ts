import type { Blocks, ReceiptLog, Table } from '@w3filecoin/runtime'
import type { AggregateRecord } from './domain/aggregate.ts'
import type { GroupRecord, TallyRecord } from './domain/group.ts'
import type { MemberRecord, PendingRecord, PieceRecord } from './domain/piece.ts'

export interface Stores {
  pieces: Table<PieceRecord>
  pending: Table<PendingRecord>
  groups: Table<GroupRecord>
  tallies: Table<TallyRecord>
  aggregates: Table<AggregateRecord>
  members: Table<MemberRecord>
  receipts: ReceiptLog
  blocks: Blocks
}
