import { batchesOf, type Unfinished, unfinishedTranslations } from '@w3filecoin/runtime'
import { type AggregateRecord, type AggregateStage, isFinal, isFinished } from './domain/aggregate.ts'
import { MAX_TRACKED_AGGREGATES, type Queues } from './queues.ts'

/** The next step of an aggregate at each stage. */
const STEPS: Record<AggregateStage, string> = {
  offered: 'a deal for it must be on chain',
  accepted: 'nothing',
  failed: 'its valid pieces must be offered to the aggregator again',
}

const aggregate: Unfinished<AggregateRecord, Queues> = {
  isUnfinished: record => !isFinished(record),
  stageSince: ({ offeredAt, endedAt }) => endedAt ?? offeredAt,
  describeNext: ({ stage, waitsFor }) => waitsFor ?? STEPS[stage],
  waitsOn: ({ stage }) => (stage === 'offered' ? ['dealTracker'] : ['aggregators']),
  needsOperator: ({ waitsFor }) => waitsFor !== undefined,
  isWaiting: ({ stage }) => stage === 'offered',
  messages: records => {
    const ids = records.filter(record => !isFinal(record)).map(({ id }) => id)
    return {
      track: batchesOf(ids, MAX_TRACKED_AGGREGATES).map(aggregates => ({ aggregates })),
      retry: records.flatMap(({ id, rangesToRetry = [] }) =>
        rangesToRetry.map(range => ({ aggregate: id, range })),
      ),
    }
  },
}

/** By table. */
export const unfinished = { aggregate, translation: unfinishedTranslations }
