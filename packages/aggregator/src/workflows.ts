import { cidOf, type Workflow } from '@w3filecoin/runtime'
import { type AggregateRecord, isFinal } from './domain/aggregate.ts'
import type { GroupRecord } from './domain/group.ts'
import type { PieceRecord } from './domain/piece.ts'

const piece: Workflow<PieceRecord> = {
  stageOf: ({ stage }) => stage,
  isFinal: ({ stage }) => stage === 'included',
  startedAt: ({ offeredAt }) => offeredAt,
  stageSince: ({ stage, offeredAt }) => (stage === 'offered' ? offeredAt : undefined),
  identify: async ({ piece, storefront, group, aggregateId, acceptTask, attempt }) => ({
    piece,
    storefront,
    group,
    aggregateId,
    task: await cidOf(acceptTask),
    attempt,
  }),
}

/** A group is `sealing` while some pieces of its aggregates have no receipts yet. */
const group: Workflow<GroupRecord> = {
  stageOf: ({ openSeals }) => (openSeals.length > 0 ? 'sealing' : 'collecting'),
  isFinal: () => false,
  startedAt: () => undefined,
  identify: ({ storefront, group, openSeals }) => ({
    storefront,
    group,
    aggregate: openSeals.at(-1)?.aggregate,
  }),
}

const aggregate: Workflow<AggregateRecord> = {
  stageOf: ({ stage }) => stage,
  isFinal,
  startedAt: ({ sealedAt }) => sealedAt,
  stageSince: ({ stage, sealedAt }) => (stage === 'sealed' ? sealedAt : undefined),
  reasonOf: ({ reason }) => reason,
  identify: async ({ aggregate, storefront, group, offerTask, acceptCid }) => ({
    aggregate,
    storefront,
    group,
    offer: await cidOf(offerTask),
    task: acceptCid,
  }),
}

/** By table. */
export const workflows = { piece, group, aggregate }
