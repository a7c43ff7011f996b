import { batchesOf, type Unfinished } from '@w3filecoin/runtime'
import type { AggregateRecord } from './domain/aggregate.ts'
import { type Queues, TRACK_BATCH } from './queues.ts'

const aggregate: Unfinished<AggregateRecord, Queues> = {
  isUnfinished: ({ stage, rangesToRetry = [] }) => stage === 'offered' || rangesToRetry.length > 0,
  stageSince: ({ offeredAt, endedAt }) => endedAt ?? offeredAt,
  describeNext: ({ stage }) =>
    stage === 'offered'
      ? 'a deal for it is to be on chain'
      : 'its pieces that can be tried again are to be offered again',
  messages: records => {
    const ids = records.filter(({ stage }) => stage === 'offered').map(({ id }) => id)
    return {
      track: batchesOf(ids, TRACK_BATCH).map(aggregates => ({ aggregates })),
      retry: records.flatMap(({ id, rangesToRetry = [] }) =>
        rangesToRetry.map(range => ({ aggregate: id, range })),
      ),
    }
  },
}

/** By table. */
export const unfinished = { aggregate }
