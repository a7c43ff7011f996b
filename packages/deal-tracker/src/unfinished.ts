import type { Unfinished } from '@w3filecoin/runtime'
import { type SourceRecord, updateMessages } from './domain/source.ts'
import type { Queues } from './queues.ts'
import { resources } from './resources.ts'

/** What is still to be written of a source, its next run sends again. */
const source: Unfinished<SourceRecord, Queues> = {
  isUnfinished: ({ rangesToWrite }) => rangesToWrite.length > 0,
  stageSince: ({ syncedAt }) => syncedAt,
  describeNext: ({ rangesToWrite }) =>
    `what its last run changed is to be written, in ${rangesToWrite.length} ranges`,
  messages: records => ({ update: records.flatMap(updateMessages) }),
  nextCheckAt: ({ syncedAt }) => syncedAt + resources.schedules.sync.everySeconds * 1000,
}

/** By table. */
export const unfinished = { source }
