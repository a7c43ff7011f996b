import { batchesOf, type Unfinished, unfinishedTranslations } from '@w3filecoin/runtime'
import { type AggregateRecord, type AggregateStage, isFinal, isFinished } from './domain/aggregate.ts'
import {
  CONDITIONS,
  isUnfinished as isOrderUnfinished,
  isWaiting,
  LIVE_CHECK_MS,
  type OrderRecord,
  type OrderStage,
} from './domain/order.ts'
import { isChanging, isKept, READY_CHECK_MS, type WholeRecord, type WholeStage } from './domain/whole.ts'
import { MAX_TRACKED_AGGREGATES, type Queues } from './queues.ts'

/** The next step of an aggregate at each stage. */
const STEPS: Record<AggregateStage, string> = {
  offered: 'a copy of it must be live on chain',
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

/** Name of the check that fails while orders need an operator. */
export const ORDERS_CHECK = 'orders'

/** The next step of an order at each stage. */
const ORDER_STEPS: Record<OrderStage, string> = {
  planned: 'its target must be asked',
  asked: 'its target must accept it',
  storing: 'a copy must be live on chain',
  live: 'nothing, until the copy ends',
  refused: 'another order',
  lost: 'another order',
  ended: 'another order',
}

const order: Unfinished<OrderRecord, Queues> = {
  isUnfinished: isOrderUnfinished,
  stageSince: ({ stageAt }) => stageAt,
  describeNext: ({ stage, stuck, trouble }) => stuck ?? trouble?.message ?? ORDER_STEPS[stage],
  waitsOn: ({ stage }) => (stage === 'live' ? ['dealTracker'] : ['targets']),
  // Only the settings of the dealer cause a trouble.
  needsOperator: ({ stuck, trouble }) => (stuck ?? trouble) !== undefined,
  // Only a missing `door` is a trouble of an order.
  reportedBy: () => ORDERS_CHECK,
  trouble: ({ progress, trouble, condition }) =>
    trouble?.message ?? progress ?? (condition && CONDITIONS[condition]),
  isWaiting,
  longestMs: { waiting: LIVE_CHECK_MS },
  messages: records => ({ order: [...new Set(records.map(({ offer }) => offer))].map(offer => ({ offer })) }),
}

/** A whole that still has problems so long after it was begun needs an operator. */
const LONGEST_FILL_MS = 24 * 60 * 60 * 1000

const needsOperatorToFill = ({ stageAt, trouble }: WholeRecord): boolean =>
  trouble !== undefined && trouble.at - stageAt > LONGEST_FILL_MS

/** The next step of a whole at each stage. */
const WHOLE_STEPS: Record<WholeStage, string> = {
  filling: 'its parts must be written',
  ready: 'nothing, until no order needs it',
  faulty: 'nothing',
  removing: 'its object must be removed',
  gone: 'nothing',
}

const whole: Unfinished<WholeRecord, Queues> = {
  isUnfinished: whole => isChanging(whole) || isKept(whole),
  stageSince: ({ stageAt }) => stageAt,
  describeNext: record =>
    `${WHOLE_STEPS[record.stage]}${needsOperatorToFill(record) ? `: ${record.trouble?.message}` : ''}`,
  waitsOn: ({ stage }) => (stage === 'filling' ? ['pieceSources'] : []),
  needsOperator: needsOperatorToFill,
  trouble: ({ trouble }) => trouble?.message,
  isWaiting: isKept,
  longestMs: { waiting: READY_CHECK_MS },
  messages: records => ({ fill: records.map(({ id }) => ({ aggregate: id })) }),
}

/** By table. */
export const unfinished = { aggregate, order, whole, translation: unfinishedTranslations }
