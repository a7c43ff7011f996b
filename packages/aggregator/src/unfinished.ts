import { type Unfinished, unfinishedTranslations } from '@w3filecoin/runtime'
import {
  type AggregateRecord,
  type AggregateStage,
  isFinal,
  isFinished,
  isWaiting,
} from './domain/aggregate.ts'
import { type GroupRecord, isForgotten } from './domain/group.ts'
import type { PieceRecord, PieceStage } from './domain/piece.ts'
import type { Queues } from './queues.ts'

/** The next step of a piece at each stage. `undefined` if the piece itself has none: the sealer of its group checks it. */
const PIECE_STEPS: Record<PieceStage, string | undefined> = {
  offered: 'it must be added to the list of its group',
  pending: undefined,
  included: undefined,
}

const piece: Unfinished<PieceRecord, Queues> = {
  isUnfinished: ({ stage }) => PIECE_STEPS[stage] !== undefined,
  stageSince: ({ offeredAt }) => offeredAt,
  describeNext: ({ stage }) => PIECE_STEPS[stage] ?? 'nothing',
  messages: records => ({ piece: records.map(({ id }) => ({ id })) }),
}

const group: Unfinished<GroupRecord, Queues> = {
  isUnfinished: record => !isForgotten(record),
  stageSince: () => undefined,
  describeNext: () => 'its pieces must be counted, and sealed if they are enough',
  messages: records => ({
    seal: records.map(({ id, revision }) => ({ group: id, id: `due-${revision}` })),
  }),
}

/** The next step of an aggregate at each stage. Its ranges may need steps of their own. */
const AGGREGATE_STEPS: Record<AggregateStage, string | undefined> = {
  sealed: 'the dealer must accept the offer',
  offered: 'the dealer must issue its final receipt',
  accepted: undefined,
  failed: undefined,
}

const aggregate: Unfinished<AggregateRecord, Queues> = {
  isUnfinished: record => !isFinished(record),
  isWaiting,
  waitsOn: record => (isFinal(record) ? [] : ['dealer']),
  stageSince: ({ sealedAt }) => sealedAt,
  describeNext: ({ stage, rangesToInclude }) =>
    [AGGREGATE_STEPS[stage], rangesToInclude.length > 0 ? 'its pieces must get their receipts' : undefined]
      .filter(step => step !== undefined)
      .join(', '),
  messages: records => ({
    deal: records.filter(record => !isFinal(record)).map(({ id }) => ({ aggregate: id })),
    include: records.flatMap(({ id, rangesToInclude }) =>
      rangesToInclude.map(range => ({ aggregate: id, range })),
    ),
  }),
}

/** By table. */
export const unfinished = { piece, group, aggregate, translation: unfinishedTranslations }
