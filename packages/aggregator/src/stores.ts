import {
  COMMON_FORMATS,
  type PeerRecord,
  recordFormat,
  type StoresOf,
  type TableFormats,
  type TranslationRecord,
} from '@w3filecoin/runtime'
import type { AggregateRecord } from './domain/aggregate.ts'
import type { GroupRecord, TallyRecord } from './domain/group.ts'
import type { MemberRecord, PendingRecord, PieceRecord } from './domain/piece.ts'
import type { QuotaRecord } from './domain/quota.ts'
import type { resources } from './resources.ts'
import { workflows } from './workflows.ts'

/** The format of the records in each table. */
export const tables = {
  ...COMMON_FORMATS,
  piece: recordFormat<PieceRecord>({
    version: 2,
    workflow: workflows.piece,
    stored: { acceptTask: 'accept' },
    packed: ['acceptTask'],
  }),
  pending: recordFormat<PendingRecord>(),
  group: recordFormat<GroupRecord>({ workflow: workflows.group, stored: { openSeals: 'open' } }),
  tally: recordFormat<TallyRecord>(),
  aggregate: recordFormat<AggregateRecord>({
    workflow: workflows.aggregate,
    stored: { offerTask: 'offer', acceptCid: 'accept', rangesToInclude: 'openRanges' },
  }),
  member: recordFormat<MemberRecord>(),
  translation: recordFormat<TranslationRecord>(),
  peer: recordFormat<PeerRecord>(),
  quota: recordFormat<QuotaRecord>(),
} satisfies TableFormats<typeof resources>

export type Stores = StoresOf<typeof tables>
