import { type Due, dueAt, notDue, recordId, type Stored } from '@w3filecoin/runtime'
import type { Timing } from './piece.ts'

/** An aggregate that pieces of this storefront are in: `offered` to a dealer, and in the end `accepted` or `failed`. */
export interface AggregateRecord extends Due {
  id: string
  aggregate: string
  /** CID of the `aggregate/offer` that the aggregator promised. */
  aggregateOfferCid: string
  stage: 'offered' | 'accepted' | 'failed'
  /** From `accepted` on. */
  dataType?: number | undefined
  dealID?: number | undefined
  /** CID of the list of CIDs of {@link Verdict}s, by shards. When `failed`. */
  verdictsCid?: string | undefined
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

export const newAggregate = (
  {
    aggregate,
    nonce,
    aggregateOfferCid,
  }: { aggregate: string; nonce?: string | undefined; aggregateOfferCid: string },
  now: number,
  { pollMs }: Timing,
): AggregateRecord => {
  const id = aggregateId({ aggregate, nonce })
  return { id, aggregate, aggregateOfferCid, stage: 'offered', ...dueAt(id, now + pollMs) }
}

export const markAccepted = (
  record: Stored<AggregateRecord>,
  deal: { dataType: number; dealID: number },
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  record.stage === 'offered'
    ? scheduleMemberCheck({ ...record, ...deal, stage: 'accepted' }, now, timing)
    : undefined

export const markFailed = (
  record: Stored<AggregateRecord>,
  verdictsCid: string,
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  record.stage === 'offered'
    ? scheduleMemberCheck({ ...record, verdictsCid, stage: 'failed' }, now, timing)
    : undefined

/**
 * Its pieces are looked for again, until none of them is left: messages to them may be lost, and the index that finds
 * them may lag behind the table.
 */
const scheduleMemberCheck = (
  record: Stored<AggregateRecord>,
  now: number,
  { pollMs }: Timing,
): Stored<AggregateRecord> => ({
  ...record,
  ...dueAt(record.id, now + pollMs),
})

/**
 * A piece was found to be in it after its outcome. A look that is due soon may be under way, and not find the piece yet, so
 * it takes another one; but not for each of its pieces.
 */
export const ensureMemberCheck = (
  record: Stored<AggregateRecord>,
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  record.stage !== 'offered' && (record.checkAt ?? 0) < now + timing.pollMs / 2
    ? scheduleMemberCheck(record, now, timing)
    : undefined

/** None of its pieces is left. */
export const markFinished = (record: Stored<AggregateRecord>): Stored<AggregateRecord> => ({
  ...record,
  ...notDue,
})
