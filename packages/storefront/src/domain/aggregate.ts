import { type Due, dueAt, notDue, recordId, type Stored } from '@w3filecoin/service'
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

/**
 * The index that finds the pieces of the aggregate may lag behind the table: they are looked for once more after
 * this long.
 */
const SECOND_LOOK = 15 * 60 * 1000

export const aggregateAccepted = (
  record: Stored<AggregateRecord>,
  deal: { dataType: number; dealID: number },
  now: number,
): Stored<AggregateRecord> | undefined =>
  record.stage === 'offered'
    ? { ...record, ...deal, stage: 'accepted', ...dueAt(record.id, now + SECOND_LOOK) }
    : undefined

export const aggregateFailed = (
  record: Stored<AggregateRecord>,
  verdicts: string,
  now: number,
): Stored<AggregateRecord> | undefined =>
  record.stage === 'offered'
    ? { ...record, verdicts, stage: 'failed', ...dueAt(record.id, now + SECOND_LOOK) }
    : undefined

/** After the second look. */
export const aggregateFinished = (record: Stored<AggregateRecord>): Stored<AggregateRecord> => ({
  ...record,
  ...notDue,
})
