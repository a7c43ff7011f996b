import {
  COMMON_FORMATS,
  type PeerRecord,
  recordFormat,
  type StoresOf,
  type TableFormats,
} from '@w3filecoin/runtime'
import { type DealRecord, upgradeDeal } from './domain/deal.ts'
import type { SourceRecord } from './domain/source.ts'
import type { WatchRecord } from './domain/watch.ts'
import type { resources } from './resources.ts'
import { workflows } from './workflows.ts'

/** The record format of each table. */
export const tables = {
  ...COMMON_FORMATS,
  deal: recordFormat<DealRecord>({ version: 2, upgrade: upgradeDeal }),
  peer: recordFormat<PeerRecord>(),
  source: recordFormat<SourceRecord>({
    workflow: workflows.source,
    stored: { snapshotCid: 'snapshot', changesCid: 'changes', rangesToWrite: 'openRanges' },
  }),
  watch: recordFormat<WatchRecord>(),
} satisfies TableFormats<typeof resources>

export type Stores = StoresOf<typeof tables>
