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
  openRanges: number[]
  /** The promised `aggregate/offer`, packed, without the block of pieces. */
  offer: Uint8Array
  /** CID of the `aggregate/accept` that the dealer promised. From `offered` on. */
  accept?: string | undefined
}

/** Intervals in milliseconds. */
export interface Timing {
  retry: number
  poll: number
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
  { nonce, offer, ranges }: { nonce?: string | undefined; offer: Uint8Array; ranges: number },
  now: number,
  { retry }: Timing,
): AggregateRecord => {
  const id = aggregateId({ aggregate: seal.aggregate, nonce })
  const openRanges = Array.from({ length: ranges }, (_, n) => n)
  return {
    ...seal,
    id,
    storefront,
    group,
    nonce,
    offer,
    openRanges,
    stage: 'sealed',
    ...dueAt(id, now + retry),
  }
}

/** Whether the record is of this sealing, and not of another one that gave the same aggregate. */
export const isOf = (record: AggregateRecord, group: GroupRecord, { sequence }: Seal): boolean =>
  record.storefront === group.storefront && record.group === group.group && record.sequence === sequence

/**
 * How long until an aggregate is looked at again, in milliseconds. A dealer that does not take it is asked again after as
 * long as it has been so.
 */
export const nextCheck = (
  { stage, openRanges, sealedAt }: Pick<AggregateRecord, 'stage' | 'openRanges' | 'sealedAt'>,
  now: number,
  { retry, poll }: Timing,
): number => {
  if (openRanges.length > 0) return retry
  return stage === 'sealed' ? Math.max(retry, Math.min(now - sealedAt, poll)) : poll
}

export const offeredToDealer = (
  record: Stored<AggregateRecord>,
  accept: string,
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  record.stage === 'sealed' ? settle({ ...record, stage: 'offered', accept }, now, timing) : undefined

export const rangeTold = (
  record: Stored<AggregateRecord>,
  range: number,
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  record.openRanges.includes(range)
    ? settle({ ...record, openRanges: record.openRanges.filter(open => open !== range) }, now, timing)
    : undefined

/** The dealer has said what became of it. */
export const ended = (
  record: Stored<AggregateRecord>,
  stage: 'accepted' | 'failed',
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  isEnded(record) ? undefined : settle({ ...record, stage }, now, timing)

const isEnded = ({ stage }: Pick<AggregateRecord, 'stage'>): boolean =>
  stage === 'accepted' || stage === 'failed'

/** Nothing is left to do for it. */
export const isFinished = (record: Pick<AggregateRecord, 'stage' | 'openRanges'>): boolean =>
  isEnded(record) && record.openRanges.length === 0

const settle = (record: Stored<AggregateRecord>, now: number, timing: Timing): Stored<AggregateRecord> => ({
  ...record,
  ...(isFinished(record) ? notDue : dueAt(record.id, now + nextCheck(record, now, timing))),
})
