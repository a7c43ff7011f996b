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
  piecesCid: string
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
  acceptTask?: Uint8Array | undefined
  /** CID of the `aggregate/offer` whose receipt is the refusal. */
  refusedOfferCid?: string | undefined
  /** The deal that ended the wait. */
  dealID?: number | undefined
  /** CID of the list of CIDs of ranges of `piece/offer` tasks, packed. When `failed`. */
  retriesCid?: string | undefined
  /** Ranges of them that are still to be sent. */
  rangesToRetry?: number[] | undefined
}

/** Pieces that are named as at fault: each is in the receipt, with the reason. */
export const MAX_FAULTS = 1_000

/**
 * Pieces of an offer that is refused at once with pieces at fault. The answer has a task for each of the others: 95,000
 * take 25 s and 2 GB, more than a request has. An aggregator makes no such offer unless something is wrong with it.
 */
export const MAX_REFUSED = 30_000

/** Intervals in milliseconds. */
export interface Timing {
  retryMs: number
  pollMs: number
  /** Until an aggregate that is in no deal has failed. */
  dealWaitMs: number
}

type Offer = Pick<
  AggregateRecord,
  | 'aggregate'
  | 'piecesCid'
  | 'nonce'
  | 'aggregator'
  | 'storefront'
  | 'group'
  | 'label'
  | 'acceptTask'
  | 'refusedOfferCid'
>

/** What was said of another list of pieces, that it is not the aggregate's, says nothing of this one. */
export const aggregateId = ({
  aggregate,
  piecesCid,
  nonce,
}: Pick<AggregateRecord, 'aggregate' | 'piecesCid' | 'nonce'>): string =>
  recordId(aggregate, piecesCid, nonce)

export const newAggregate = (offer: Offer, now: number, { pollMs }: Timing): AggregateRecord => {
  const id = aggregateId(offer)
  return { ...offer, id, stage: 'offered', offeredAt: now, ...dueAt(id, now + pollMs) }
}

export const markAccepted = (
  record: Stored<AggregateRecord>,
  dealID: number,
  now: number,
): Stored<AggregateRecord> | undefined =>
  record.stage === 'offered' ? { ...record, stage: 'accepted', dealID, endedAt: now, ...notDue } : undefined

/** The pieces that can be tried again, and are to be offered again now. */
export interface Retries {
  retriesCid: string
  rangesToRetry: number[]
}

export const markFailed = <R extends AggregateRecord>(
  record: R,
  { retriesCid, rangesToRetry }: Retries,
  now: number,
  { retryMs }: Timing,
): R | undefined =>
  record.stage === 'offered'
    ? schedule({ ...record, stage: 'failed', endedAt: now, retriesCid, rangesToRetry }, now + retryMs)
    : undefined

export const closeRange = (
  record: Stored<AggregateRecord>,
  range: number,
  now: number,
  { retryMs }: Timing,
): Stored<AggregateRecord> | undefined =>
  record.rangesToRetry?.includes(range)
    ? schedule(
        { ...record, rangesToRetry: record.rangesToRetry.filter(open => open !== range) },
        now + retryMs,
      )
    : undefined

const schedule = <R extends AggregateRecord>(record: R, checkAt: number): R => ({
  ...record,
  ...(record.rangesToRetry?.length === 0 ? notDue : dueAt(record.id, checkAt)),
})

/**
 * How long until the record is looked at again, in milliseconds. An aggregator that does not take the retries is asked
 * again after as long as it has been so.
 */
export const nextCheckMs = (
  { stage, endedAt }: Pick<AggregateRecord, 'stage' | 'endedAt'>,
  now: number,
  { retryMs, pollMs }: Pick<Timing, 'retryMs' | 'pollMs'>,
): number => (stage === 'failed' ? Math.max(retryMs, Math.min(now - (endedAt ?? now), pollMs)) : pollMs)
