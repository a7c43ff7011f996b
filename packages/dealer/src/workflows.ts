import { cidOf, type Workflow } from '@w3filecoin/runtime'
import { type AggregateRecord, isFinal as isDecided } from './domain/aggregate.ts'
import { isFinal, type OrderRecord } from './domain/order.ts'
import { isChanging, type WholeRecord } from './domain/whole.ts'

const aggregate: Workflow<AggregateRecord> = {
  stageOf: ({ stage }) => stage,
  isFinal: isDecided,
  startedAt: ({ offeredAt }) => offeredAt,
  stageSince: ({ offeredAt, endedAt }) => endedAt ?? offeredAt,
  reasonOf: ({ reason }) => reason,
  identify: async ({ aggregate, aggregator, storefront, group, acceptTask, refusedOfferCid, place }) => ({
    aggregate,
    aggregator,
    storefront,
    group,
    // A refused offer promises nothing: its own receipt ends it.
    task: acceptTask ? await cidOf(acceptTask) : refusedOfferCid,
    deal: place,
  }),
}

const order: Workflow<OrderRecord> = {
  stageOf: ({ stage }) => stage,
  isFinal,
  startedAt: ({ createdAt }) => createdAt,
  stageSince: ({ stageAt }) => stageAt,
  reasonOf: ({ reason }) => reason,
  identify: ({ aggregate, target, copy, attempt, place }) => ({ aggregate, target, copy, attempt, place }),
}

const whole: Workflow<WholeRecord> = {
  stageOf: ({ stage }) => stage,
  isFinal: whole => !isChanging(whole),
  startedAt: ({ stageAt }) => stageAt,
  stageSince: ({ stageAt }) => stageAt,
  reasonOf: ({ fault }) => fault && { name: 'InvalidPieceCID', message: `${fault.piece}: ${fault.message}` },
  identify: ({ id, storefront }) => ({ aggregate: id, storefront }),
}

/** By table. */
export const workflows = { aggregate, order, whole }
