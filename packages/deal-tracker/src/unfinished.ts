import type { Unfinished } from '@w3filecoin/runtime'
import { type SourceRecord, toUpdateMessages } from './domain/source.ts'
import type { Queues } from './queues.ts'
import { resources } from './resources.ts'

/** A source whose last run has open ranges. Its next run sends their messages again. */
const source: Unfinished<SourceRecord, Queues> = {
  isUnfinished: ({ rangesToWrite }) => rangesToWrite.length > 0,
  stageSince: ({ syncedAt }) => syncedAt,
  describeNext: ({ rangesToWrite }) => `write the changes of the last run, ${rangesToWrite.length} ranges`,
  messages: records => ({ update: records.flatMap(toUpdateMessages) }),
  nextCheckAt: ({ syncedAt }) => syncedAt + resources.schedules.sync.everySeconds * 1000,
}

/** The unfinished records, by table. */
export const unfinished = { source }
