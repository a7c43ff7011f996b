import type { DID } from '@ucanto/interface'
import { type Due, dueAt, notDue, recordId, type Stored } from '@w3filecoin/runtime'

/**
 * An aggregate that deals are made for:
 *
 * - `offered` until a deal is on chain
 * - `accepted`: in a deal; the end
 * - `failed`: it never will be; the end, when also all its pieces that can be tried again have been offered again
 */
export interface AggregateRecord extends Due {
  id: string
  aggregate: string
  /** Link of the DAG-CBOR list of the pieces. */
  pieces: string
  nonce?: string | undefined
  /** Who offered it, and waits for the receipt. */
  aggregator: DID
  /** For whom it is: the storefront that its pieces are from, their group, and a name for people. */
  storefront: string
  group: string
  label: string
  stage: 'offered' | 'accepted' | 'failed'
  /** In milliseconds since 1970. */
  offeredAt: number
  endedAt?: number | undefined
  /** The promised `aggregate/accept`, packed. Absent where the offer itself was refused: nothing was promised. */
  accept?: Uint8Array | undefined
  /** CID of the `aggregate/offer` whose receipt is the refusal. */
  refused?: string | undefined
  /** The deal that ended the wait. */
  dealID?: number | undefined
  /** CID of the list of CIDs of ranges of `piece/offer` tasks, packed. When `failed`. */
  retries?: string | undefined
  /** Ranges of them that are still to be sent. */
  openRanges?: number[] | undefined
}

/** Pieces that are named as at fault: each is in the receipt, with the reason. */
export const MOST_FAULTS = 1_000

/**
 * Pieces of an offer that is refused at once with pieces at fault. The answer has a task for each of the others: 95,000
 * take 25 s and 2 GB, more than a request has. An aggregator makes no such offer unless something is wrong with it.
 */
export const MOST_REFUSED = 30_000

/** Intervals in milliseconds. */
export interface Timing {
  retry: number
  poll: number
  /** Until an aggregate that is in no deal has failed. */
  longestWait: number
}

type Offer = Pick<
  AggregateRecord,
  'aggregate' | 'pieces' | 'nonce' | 'aggregator' | 'storefront' | 'group' | 'label' | 'accept' | 'refused'
>

/** What was said of another list of pieces, that it is not the aggregate's, says nothing of this one. */
export const aggregateId = ({
  aggregate,
  pieces,
  nonce,
}: Pick<AggregateRecord, 'aggregate' | 'pieces' | 'nonce'>): string => recordId(aggregate, pieces, nonce)

export const offered = (offer: Offer, now: number, { poll }: Timing): AggregateRecord => {
  const id = aggregateId(offer)
  return { ...offer, id, stage: 'offered', offeredAt: now, ...dueAt(id, now + poll) }
}

export const accepted = (
  record: Stored<AggregateRecord>,
  dealID: number,
  now: number,
): Stored<AggregateRecord> | undefined =>
  record.stage === 'offered' ? { ...record, stage: 'accepted', dealID, endedAt: now, ...notDue } : undefined

/** The pieces that can be tried again, and are to be offered again now. */
export interface Retries {
  retries: string
  openRanges: number[]
}

export const failed = <R extends AggregateRecord>(
  record: R,
  { retries, openRanges }: Retries,
  now: number,
  { retry }: Timing,
): R | undefined =>
  record.stage === 'offered'
    ? settle({ ...record, stage: 'failed', endedAt: now, retries, openRanges }, now + retry)
    : undefined

export const rangeSent = (
  record: Stored<AggregateRecord>,
  range: number,
  now: number,
  { retry }: Timing,
): Stored<AggregateRecord> | undefined =>
  record.openRanges?.includes(range)
    ? settle({ ...record, openRanges: record.openRanges.filter(open => open !== range) }, now + retry)
    : undefined

const settle = <R extends AggregateRecord>(record: R, checkAt: number): R => ({
  ...record,
  ...(record.openRanges?.length === 0 ? notDue : dueAt(record.id, checkAt)),
})

/**
 * How long until the record is looked at again, in milliseconds. An aggregator that does not take the retries is asked
 * again after as long as it has been so.
 */
export const nextCheck = (
  { stage, endedAt }: Pick<AggregateRecord, 'stage' | 'endedAt'>,
  now: number,
  { retry, poll }: Pick<Timing, 'retry' | 'poll'>,
): number => (stage === 'failed' ? Math.max(retry, Math.min(now - (endedAt ?? now), poll)) : poll)
