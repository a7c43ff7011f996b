import {
  COMMON_FORMATS,
  type RecordFormat,
  recordFormat,
  type StoresOf,
  type TableFormats,
  type TranslationRecord,
} from '@w3filecoin/runtime'
import { type AggregateRecord, upgradeAggregate } from './domain/aggregate.ts'
import type { GroupRecord } from './domain/group.ts'
import type { InclusionRecord } from './domain/inclusion.ts'
import type { ListenerRecord } from './domain/listener.ts'
import type { OfferRecord } from './domain/offer.ts'
import type { PieceRecord } from './domain/piece.ts'
import type { QuotaRecord } from './domain/quota.ts'
import type { ReadingRecord } from './domain/reading.ts'
import type { TaskRecord } from './domain/task.ts'
import type { UploadRecord } from './domain/upload.ts'
import type { resources } from './resources.ts'
import { workflows } from './workflows.ts'

/**
 * The provider of a space, which becomes the group of its pieces. The operator fills this table.
 *
 * @example { space: 'did:key:z6Mk…', provider: 'did:web:example.com' }
 */
export interface SpaceRecord {
  space: string
  provider: string
}

/**
 * Keeps records out of the index `piece`, because each entry of an index is paid for: the index `root` finds them as well. Records
 * of version 0.1.0 have no root, and stay in it.
 */
const withoutPieceIndex = (format: RecordFormat<PieceRecord>): RecordFormat<PieceRecord> => ({
  ...format,
  encode: record => {
    const { piece, ...row } = format.encode(record)
    return record.root === undefined ? { ...row, piece } : { ...row, pieceLink: piece }
  },
  decode: ({ pieceLink, ...row }) =>
    format.decode(pieceLink === undefined ? row : { ...row, piece: pieceLink }),
})

const pieceFormat = recordFormat<PieceRecord>({
  version: 2,
  workflow: workflows.piece,
  stored: {
    submitTask: 'submit',
    acceptTask: 'accept',
    pieceOfferTask: 'pieceOffer',
    offerNonce: 'queuedWith',
    retryOfferCid: 'retry',
  },
})

/** The record format of each table. */
export const tables = {
  ...COMMON_FORMATS,
  piece: withoutPieceIndex(pieceFormat),
  aggregate: recordFormat<AggregateRecord>({
    version: 2,
    upgrade: upgradeAggregate,
    workflow: workflows.aggregate,
    stored: { aggregateOfferCid: 'aggregateOffer', acceptCid: 'aggregateAccept', verdictsCid: 'verdicts' },
  }),
  group: recordFormat<GroupRecord>(),
  reading: recordFormat<ReadingRecord>(),
  space: recordFormat<SpaceRecord>(),
  offer: recordFormat<OfferRecord>(),
  task: recordFormat<TaskRecord>({ version: 2, packed: ['promise'] }),
  inclusion: recordFormat<InclusionRecord>({ version: 2, packed: ['inclusion'] }),
  quota: recordFormat<QuotaRecord>(),
  upload: recordFormat<UploadRecord>(),
  listener: recordFormat<ListenerRecord>(),
  translation: recordFormat<TranslationRecord>(),
} satisfies TableFormats<typeof resources>

export type Stores = StoresOf<typeof tables>
