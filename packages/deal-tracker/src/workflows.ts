import type { Workflow } from '@w3filecoin/runtime'
import type { SourceRecord } from './domain/source.ts'

/** The last run of a source: `writing` until its changes are all in the table. A run without changes is `written` at once. */
const source: Workflow<SourceRecord> = {
  stageOf: ({ rangesToWrite }) => (rangesToWrite.length > 0 ? 'writing' : 'written'),
  isFinal: ({ rangesToWrite }) => rangesToWrite.length === 0,
  startedAt: ({ syncedAt }) => syncedAt,
  stageSince: ({ rangesToWrite, syncedAt }) => (rangesToWrite.length > 0 ? syncedAt : undefined),
  identify: ({ name, stateEpoch, deals, changed, rangesToWrite }) => ({
    id: name,
    epoch: stateEpoch,
    deals,
    changed,
    ranges: rangesToWrite.length,
  }),
}

/** By table. */
export const workflows = { source }
