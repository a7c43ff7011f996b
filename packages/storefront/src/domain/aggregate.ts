import { type Due, dueAt, notDue, recordId, type Stored } from '@w3filecoin/runtime'
import type { Timing } from './piece.ts'

/** An aggregate that pieces of this storefront are in: `offered` to a dealer, and in the end `accepted` or `failed`. */
export interface AggregateRecord extends Due {
  id: string
  aggregate: string
  /** CID of the `aggregate/offer` that the aggregator promised. */
  aggregateOffer: string
  stage: 'offered' | 'accepted' | 'failed'
  /** From `accepted` on. */
  dataType?: number | undefined
  dealID?: number | undefined
  /** CID of the list of CIDs of {@link Verdict}s, by shards. When `failed`. */
  verdicts?: string | undefined
}

/** What becomes of a piece of a failed aggregate. */
export interface Verdict {
  piece: string
  /** CID of the `piece/offer` by which it is tried again. */
  retry?: string | undefined
  /** Why it is not. */
  fault?: string | undefined
}

export const aggregateId = ({
  aggregate,
  nonce,
}: {
  aggregate: string
  nonce?: string | undefined
}): string => recordId(aggregate, nonce)

export const aggregateOffered = (
  {
    aggregate,
    nonce,
    aggregateOffer,
  }: { aggregate: string; nonce?: string | undefined; aggregateOffer: string },
  now: number,
  { poll }: Timing,
): AggregateRecord => {
  const id = aggregateId({ aggregate, nonce })
  return { id, aggregate, aggregateOffer, stage: 'offered', ...dueAt(id, now + poll) }
}

export const aggregateAccepted = (
  record: Stored<AggregateRecord>,
  deal: { dataType: number; dealID: number },
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  record.stage === 'offered' ? ended({ ...record, ...deal, stage: 'accepted' }, now, timing) : undefined

export const aggregateFailed = (
  record: Stored<AggregateRecord>,
  verdicts: string,
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  record.stage === 'offered' ? ended({ ...record, verdicts, stage: 'failed' }, now, timing) : undefined

/**
 * Its pieces are looked for again, until none of them is left: messages to them may be lost, and the index that finds
 * them may lag behind the table.
 */
const ended = (record: Stored<AggregateRecord>, now: number, { poll }: Timing): Stored<AggregateRecord> => ({
  ...record,
  ...dueAt(record.id, now + poll),
})

/**
 * A piece was found to be in it after its outcome. A look that is due soon may be under way, and not find the piece yet, so
 * it takes another one; but not for each of its pieces.
 */
export const lookedAfter = (
  record: Stored<AggregateRecord>,
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  record.stage !== 'offered' && (record.checkAt ?? 0) < now + timing.poll / 2
    ? ended(record, now, timing)
    : undefined

/** None of its pieces is left. */
export const aggregateFinished = (record: Stored<AggregateRecord>): Stored<AggregateRecord> => ({
  ...record,
  ...notDue,
})
