import type { Unfinished } from '@w3filecoin/runtime'
import { type AggregateRecord, isFinished } from './domain/aggregate.ts'
import type { GroupRecord } from './domain/group.ts'
import type { PieceRecord } from './domain/piece.ts'
import type { Queues } from './queues.ts'

/** One that is `pending` is looked after by its group. */
const piece: Unfinished<PieceRecord, Queues> = {
  isUnfinished: ({ stage }) => stage === 'offered',
  stageSince: ({ offeredAt }) => offeredAt,
  describeNext: () => 'it is to be put into the list of its group',
  messages: records => ({ piece: records.map(({ id }) => ({ id })) }),
}

const group: Unfinished<GroupRecord, Queues> = {
  isUnfinished: () => true,
  stageSince: () => undefined,
  describeNext: () => 'its pieces are to be counted, and sealed when they are enough',
  messages: records => ({
    seal: records.map(({ id, revision }) => ({ group: id, id: `due-${revision}` })),
  }),
}

const aggregate: Unfinished<AggregateRecord, Queues> = {
  isUnfinished: record => !isFinished(record),
  stageSince: ({ sealedAt }) => sealedAt,
  describeNext: ({ stage, rangesToInclude }) =>
    [
      ...(stage === 'sealed' ? ['the dealer is to take it'] : []),
      ...(stage === 'offered' ? ['the dealer is to end it'] : []),
      ...(rangesToInclude.length > 0 ? ['its pieces are to be told that they are in it'] : []),
    ].join(', '),
  messages: records => ({
    deal: records
      .filter(({ stage }) => stage === 'sealed' || stage === 'offered')
      .map(({ id }) => ({ aggregate: id })),
    include: records.flatMap(({ id, rangesToInclude }) =>
      rangesToInclude.map(range => ({ aggregate: id, range })),
    ),
  }),
}

/** By table. */
export const unfinished = { piece, group, aggregate }
