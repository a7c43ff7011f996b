import type { Unfinished } from '@w3filecoin/runtime'
import type { AggregateRecord } from './domain/aggregate.ts'
import { type PieceRecord, stageReachedAt } from './domain/piece.ts'
import type { Queues } from './queues.ts'

const NEXT: Partial<Record<PieceRecord['stage'], string>> = {
  offered: 'its content is to be read and checked',
  submitted: 'the aggregator is to take it',
  queued: 'the aggregator is to put it into an aggregate',
  aggregated: 'its aggregate is to be in a deal',
  retried: 'the aggregator is to take it again',
}

const piece: Unfinished<PieceRecord, Queues> = {
  isUnfinished: ({ stage }) => stage !== 'accepted' && stage !== 'failed',
  stageSince: stageReachedAt,
  describeNext: ({ stage }) => NEXT[stage] ?? 'nothing',
  messages: records => {
    const ids = (...stages: PieceRecord['stage'][]) =>
      records.filter(({ stage }) => stages.includes(stage)).map(({ id }) => ({ id }))
    return {
      submit: ids('offered'),
      aggregation: ids('submitted', 'queued', 'retried'),
      outcome: records
        .filter(({ stage }) => stage === 'aggregated')
        .map(({ id, aggregateId }) => ({ aggregate: aggregateId as string, pieces: [id] })),
    }
  },
}

const aggregate: Unfinished<AggregateRecord, Queues> = {
  isUnfinished: ({ stage, checkAt }) => stage === 'offered' || checkAt !== undefined,
  stageSince: () => undefined,
  describeNext: ({ stage }) =>
    stage === 'offered' ? 'the dealer is to end it' : 'its pieces are to hear of that',
  messages: records => ({ outcome: records.map(({ id }) => ({ aggregate: id })) }),
}

/** By table. */
export const unfinished = { piece, aggregate }
