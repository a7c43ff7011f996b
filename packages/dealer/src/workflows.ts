import { cidOf, type Workflow } from '@w3filecoin/runtime'
import { type AggregateRecord, isFinal } from './domain/aggregate.ts'

const aggregate: Workflow<AggregateRecord> = {
  stageOf: ({ stage }) => stage,
  isFinal,
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

/** By table. */
export const workflows = { aggregate }
