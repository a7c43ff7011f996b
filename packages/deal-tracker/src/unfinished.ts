import type { Unfinished } from '@w3filecoin/runtime'
import { openUpdates, type SourceRecord } from './domain/source.ts'
import type { Queues } from './queues.ts'
import { resources } from './resources.ts'

/** What is still to be written of a source, its next run sends again. */
const source: Unfinished<SourceRecord, Queues> = {
  is: ({ openRanges }) => openRanges.length > 0,
  since: ({ syncedAt }) => syncedAt,
  next: ({ openRanges }) => `what its last run changed is to be written, in ${openRanges.length} ranges`,
  messages: records => ({ update: records.flatMap(openUpdates) }),
  lookedAt: ({ syncedAt }) => syncedAt + resources.schedules.sync.everySeconds * 1000,
}

/** By table. */
export const unfinished = { source }
