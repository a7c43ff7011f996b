import type { Stage } from '@w3filecoin/capabilities'
import { type Unfinished, unfinishedTranslations } from '@w3filecoin/runtime'
import { type AggregateRecord, type AggregateStage, isFinal as isFinalOutcome } from './domain/aggregate.ts'
import type { GroupRecord } from './domain/group.ts'
import { WAITS_ON } from './domain/hindrance.ts'
import type { ListenerRecord } from './domain/listener.ts'
import { memberShard, queuedShard, SHARDS } from './domain/member-shards.ts'
import { EARLIER_CHECK_MS, isFinal, keeperOf, type PieceRecord, stageReachedAt } from './domain/piece.ts'
import type { Queues } from './queues.ts'

interface Step {
  /** Its consumer takes the step. */
  queue: keyof Queues
  /** The step in words, for operators. */
  description: string
}

/** The next step of a piece at each stage. A final stage has none. */
const NEXT_STEP: Record<Stage, Step | undefined> = {
  offered: { queue: 'submit', description: 'the storefront must read and check its content' },
  submitted: { queue: 'aggregation', description: 'the aggregator must accept it' },
  queued: { queue: 'poll', description: 'the aggregator must put it into an aggregate' },
  aggregated: { queue: 'outcome', description: 'its aggregate must be stored on Filecoin' },
  retried: { queue: 'aggregation', description: 'the aggregator must accept it again' },
  accepted: undefined,
  failed: undefined,
}

const piece: Unfinished<PieceRecord, Queues> = {
  isUnfinished: record => !isFinal(record),
  stageSince: stageReachedAt,
  describeNext: ({ stage }) => NEXT_STEP[stage]?.description ?? 'nothing',
  waitsOn: ({ stage }) => WAITS_ON[stage],
  trouble: ({ trouble }) => trouble?.message,
  // Only pieces of earlier code: others that wait have a keeper.
  isWaiting: ({ stage }) => stage === 'queued' || stage === 'aggregated',
  longestMs: { waiting: EARLIER_CHECK_MS },
  keeper: keeperOf,
  messages: records => {
    const recordsFor = (queue: keyof Queues) =>
      records.filter(({ stage }) => NEXT_STEP[stage]?.queue === queue)
    return {
      submit: recordsFor('submit').map(({ id }) => ({ id })),
      aggregation: recordsFor('aggregation').map(({ id }) => ({ id })),
      poll: recordsFor('poll').map(({ id }) => ({ pieces: [id] })),
      outcome: recordsFor('outcome').map(({ id, aggregateId }) => ({
        aggregate: aggregateId as string,
        pieces: [id],
      })),
    }
  },
}

const group: Unfinished<GroupRecord, Queues> = {
  isUnfinished: ({ stage }) => stage !== 'idle',
  stageSince: () => undefined,
  describeNext: () => 'the aggregator must be asked about its queued pieces',
  waitsOn: () => ['aggregator'],
  messages: records => ({ poll: records.map(({ id }) => ({ group: id })) }),
  keeps: {
    table: 'piece',
    index: 'queuedIn',
    partitions: ({ id }) => SHARDS.map(shard => queuedShard(id, shard)),
  },
}

/** What happens next to an aggregate that needs checks. */
const NEXT_OF_AGGREGATE: Record<AggregateStage, string> = {
  offered: 'the dealer must report its outcome',
  accepted: 'its pieces must be accepted',
  failed: 'its pieces must be retried or failed',
}

const aggregate: Unfinished<AggregateRecord, Queues> = {
  isUnfinished: record =>
    !isFinalOutcome(record) || (record.checkAt !== undefined && record.emptyAt === undefined),
  stageSince: () => undefined,
  describeNext: ({ stage }) => NEXT_OF_AGGREGATE[stage],
  waitsOn: ({ stage }) => (stage === 'offered' ? ['dealer', 'aggregator'] : []),
  isWaiting: ({ stage }) => stage === 'offered',
  messages: records => ({ outcome: records.map(({ id }) => ({ aggregate: id })) }),
  keeps: {
    table: 'piece',
    index: 'memberOf',
    partitions: ({ id }) => SHARDS.map(shard => memberShard(id, shard)),
  },
}

/** They are in the lane `waiting`: work of the storefront itself goes first. */
const listener: Unfinished<ListenerRecord, Queues> = {
  isUnfinished: () => true,
  stageSince: ({ since }) => since,
  describeNext: ({ attempts }) =>
    attempts === 0 ? 'its workflow must end' : 'the address that its agent named must take the receipt',
  isWaiting: () => true,
  messages: records => ({ notify: records.map(({ id }) => ({ id })) }),
}

/** By table. */
export const unfinished = { piece, group, aggregate, listener, translation: unfinishedTranslations }
