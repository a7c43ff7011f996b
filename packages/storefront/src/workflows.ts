import { type Place, placeIn, toPlaceKey } from '@w3filecoin/capabilities'
import { cidOf, type Workflow } from '@w3filecoin/runtime'
import { type AggregateRecord, isFinal as isFinalOutcome } from './domain/aggregate.ts'
import { isFinal, type PieceRecord, stageReachedAt } from './domain/piece.ts'

const piece: Workflow<PieceRecord> = {
  stageOf: ({ stage }) => stage,
  isFinal,
  // Each attempt begins with `offered`, and has its own receipts.
  startedAt: ({ history }) => history.findLast(({ stage }) => stage === 'offered')?.at,
  stageSince: stageReachedAt,
  reasonOf: ({ reason }) => reason,
  identify: async record => {
    const { stage, piece, content, space, group, aggregate, acceptTask, acceptCid, waitsFor, attempt } =
      record
    // Log lines are paid for by the byte: those in between name the piece and the task, and add what is new.
    const isBetween = stage !== 'offered' && !isFinal(record)
    return {
      piece,
      ...(!isBetween && { content, space, group }),
      aggregate,
      task: acceptCid ?? (await cidOf(acceptTask as Uint8Array)),
      waitsFor,
      attempt,
    }
  },
}

const aggregate: Workflow<AggregateRecord> = {
  stageOf: ({ stage }) => stage,
  isFinal: isFinalOutcome,
  startedAt: ({ offeredAt }) => offeredAt,
  stageSince: ({ stage, offeredAt }) => (stage === 'offered' ? offeredAt : undefined),
  reasonOf: ({ reason }) => reason,
  identify: ({ aggregate, aggregateOfferCid, acceptCid, metadata }) => ({
    aggregate,
    offer: aggregateOfferCid,
    task: acceptCid,
    deal: metadata && toPlaceKey(placeIn(metadata) as Place),
  }),
}

/** By table. The stages of `group` and `translation` only schedule checks, so their transitions are not reported. */
export const workflows = { piece, aggregate }
