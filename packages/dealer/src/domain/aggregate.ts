import type { DID } from '@ucanto/interface'
import { type Due, dueAt, notDue, recordId, type Stored } from '@w3filecoin/service'

/** An aggregate that deals are made for: `offered` until a deal is on chain, then `accepted`; the end. */
export interface AggregateRecord extends Due {
  id: string
  aggregate: string
  /** Link of the DAG-CBOR list of the pieces. */
  pieces: string
  nonce?: string | undefined
  /** Who offered it, and waits for the receipt. */
  aggregator: DID
  stage: 'offered' | 'accepted'
  /** In milliseconds since 1970. */
  offeredAt: number
  acceptedAt?: number | undefined
  /** The promised `aggregate/accept`, packed. */
  accept: Uint8Array
  /** The deal that ended the wait. */
  dealID?: number | undefined
}

/** Intervals in milliseconds. */
export interface Timing {
  retry: number
  poll: number
}

type Offer = Pick<AggregateRecord, 'aggregate' | 'pieces' | 'nonce' | 'aggregator' | 'accept'>

export const aggregateId = ({ aggregate, nonce }: Pick<AggregateRecord, 'aggregate' | 'nonce'>): string =>
  recordId(aggregate, nonce)

export const offered = (offer: Offer, now: number, { poll }: Timing): AggregateRecord => {
  const id = aggregateId(offer)
  return { ...offer, id, stage: 'offered', offeredAt: now, ...dueAt(id, now + poll) }
}

export const accepted = (
  record: Stored<AggregateRecord>,
  dealID: number,
  now: number,
): Stored<AggregateRecord> | undefined =>
  record.stage === 'offered'
    ? { ...record, stage: 'accepted', dealID, acceptedAt: now, ...notDue }
    : undefined
