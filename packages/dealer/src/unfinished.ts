import { batchesOf, type Unfinished } from '@w3filecoin/runtime'
import type { AggregateRecord } from './domain/aggregate.ts'
import { type Queues, TRACK_BATCH } from './queues.ts'

const aggregate: Unfinished<AggregateRecord, Queues> = {
  is: ({ stage, openRanges = [] }) => stage === 'offered' || openRanges.length > 0,
  since: ({ offeredAt, endedAt }) => endedAt ?? offeredAt,
  next: ({ stage }) =>
    stage === 'offered'
      ? 'a deal for it is to be on chain'
      : 'its pieces that can be tried again are to be offered again',
  messages: records => {
    const ids = records.filter(({ stage }) => stage === 'offered').map(({ id }) => id)
    return {
      track: batchesOf(ids, TRACK_BATCH).map(aggregates => ({ aggregates })),
      retry: records.flatMap(({ id, openRanges = [] }) =>
        openRanges.map(range => ({ aggregate: id, range })),
      ),
    }
  },
}

/** By table. */
export const unfinished = { aggregate }
