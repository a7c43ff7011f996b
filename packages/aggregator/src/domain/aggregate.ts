import type { DID } from '@ucanto/interface'
import { type Due, dueAt, notDue, recordId, type Stored } from '@w3filecoin/runtime'
import type { GroupRecord, Seal } from './group.ts'

/**
 * An aggregate:
 *
 * - `sealed`: to be offered to the dealer
 * - `offered`: the dealer makes deals for it
 * - `accepted`: in a deal
 * - `failed`: in no deal, or refused by the dealer, who offers its pieces again where they can be tried again
 *
 * Either is the end, when also all its pieces have been told that they are in it.
 */
export interface AggregateRecord extends Due, Seal {
  id: string
  storefront: DID
  group: string
  /** Tells the same pieces, sealed once more, from the first aggregate of them. */
  nonce?: string | undefined
  stage: 'sealed' | 'offered' | 'accepted' | 'failed'
  /** Ranges of pieces that are still to be told. */
  rangesToInclude: number[]
  /** The promised `aggregate/offer`, packed, without the block of pieces. */
  offerTask: Uint8Array
  /** CID of the `aggregate/accept` that the dealer promised. From `offered` on. */
  acceptCid?: string | undefined
}

/** Intervals in milliseconds. */
export interface Timing {
  retryMs: number
  pollMs: number
}

/** One piece in a range of an aggregate. */
export interface RangeEntry {
  id: string
  /** The piece's place in the list of its group. */
  order: string
  piece: unknown
  inclusion: unknown
}

export const aggregateId = ({
  aggregate,
  nonce,
}: {
  aggregate: string
  nonce?: string | undefined
}): string => recordId(aggregate, nonce)

/** The nonce of an aggregate whose pieces, laid out the same, were an aggregate before. */
export const sealNonce = ({ id }: Pick<GroupRecord, 'id'>, { sequence }: Seal): string => `${id}-${sequence}`

export const newAggregate = (
  { storefront, group }: Pick<GroupRecord, 'storefront' | 'group'>,
  seal: Seal,
  { nonce, offerTask, ranges }: { nonce?: string | undefined; offerTask: Uint8Array; ranges: number },
  now: number,
  { retryMs }: Timing,
): AggregateRecord => {
  const id = aggregateId({ aggregate: seal.aggregate, nonce })
  const rangesToInclude = Array.from({ length: ranges }, (_, n) => n)
  return {
    ...seal,
    id,
    storefront,
    group,
    nonce,
    offerTask,
    rangesToInclude,
    stage: 'sealed',
    ...dueAt(id, now + retryMs),
  }
}

/** Whether the record is of this sealing, and not of another one that gave the same aggregate. */
export const isOf = (record: AggregateRecord, group: GroupRecord, { sequence }: Seal): boolean =>
  record.storefront === group.storefront && record.group === group.group && record.sequence === sequence

/**
 * How long until an aggregate is looked at again, in milliseconds. A dealer that does not take it is asked again after as
 * long as it has been so.
 */
export const nextCheckMs = (
  { stage, rangesToInclude, sealedAt }: Pick<AggregateRecord, 'stage' | 'rangesToInclude' | 'sealedAt'>,
  now: number,
  { retryMs, pollMs }: Timing,
): number => {
  if (rangesToInclude.length > 0) return retryMs
  return stage === 'sealed' ? Math.max(retryMs, Math.min(now - sealedAt, pollMs)) : pollMs
}

export const markOffered = (
  record: Stored<AggregateRecord>,
  acceptCid: string,
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  record.stage === 'sealed' ? schedule({ ...record, stage: 'offered', acceptCid }, now, timing) : undefined

export const closeRange = (
  record: Stored<AggregateRecord>,
  range: number,
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  record.rangesToInclude.includes(range)
    ? schedule(
        { ...record, rangesToInclude: record.rangesToInclude.filter(open => open !== range) },
        now,
        timing,
      )
    : undefined

/** The dealer has said what became of it. */
export const markEnded = (
  record: Stored<AggregateRecord>,
  stage: 'accepted' | 'failed',
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  isEnded(record) ? undefined : schedule({ ...record, stage }, now, timing)

const isEnded = ({ stage }: Pick<AggregateRecord, 'stage'>): boolean =>
  stage === 'accepted' || stage === 'failed'

/** Nothing is left to do for it. */
export const isFinished = (record: Pick<AggregateRecord, 'stage' | 'rangesToInclude'>): boolean =>
  isEnded(record) && record.rangesToInclude.length === 0

const schedule = (record: Stored<AggregateRecord>, now: number, timing: Timing): Stored<AggregateRecord> => ({
  ...record,
  ...(isFinished(record) ? notDue : dueAt(record.id, now + nextCheckMs(record, now, timing))),
})
