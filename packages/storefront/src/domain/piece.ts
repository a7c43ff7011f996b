import { type Due, dueAt, notDue, recordId, type Stored } from '@w3filecoin/service'

/**
 * A content piece on its way to a deal:
 *
 * - `offered` by an agent; its content is still to be read
 * - `submitted`: the content hashes to the piece; the aggregator is still to be asked
 * - `queued` at the aggregator
 * - `aggregated`: in an aggregate, with proof; a deal is still to be made
 * - `accepted`: in a deal; the end
 * - `failed`: it never will be; the end
 */
export type Stage = 'offered' | 'submitted' | 'queued' | 'aggregated' | 'accepted' | 'failed'

export interface PieceRecord extends Due {
  id: string
  content: string
  piece: string
  nonce?: string | undefined
  /** What the aggregator groups by: the provider of the space that the piece was first offered from. */
  group: string
  stage: Stage
  /** When each stage was reached, in milliseconds since 1970. */
  times: Partial<Record<Stage, number>>
  /** The promised tasks, packed. */
  submit: Uint8Array
  accept: Uint8Array
  /** The `piece/offer` that `filecoin/submit` promised, packed. From `submitted` on. */
  pieceOffer?: Uint8Array | undefined
  /** CID of the `piece/accept` that the aggregator promised. From `queued` on. */
  waitsFor?: string | undefined
  /** Record id, piece CID, and proof (DAG-CBOR) of the aggregate. From `aggregated` on. */
  aggregateId?: string | undefined
  aggregate?: string | undefined
  inclusion?: Uint8Array | undefined
  /** Partition of the index by aggregate; see {@link memberShard}. */
  memberOf?: string | undefined
}

/** Intervals in milliseconds. */
export interface Timing {
  /** Until work of our own is sent again. */
  retry: number
  /** Until another service is asked for a receipt that it should have sent. */
  poll: number
}

/**
 * Pieces in an aggregate are told of its deal when the aggregate's outcome arrives, found by an index. An index
 * may lag, so each looks for itself after this long at the latest.
 */
const SAFETY_CHECK = 7 * 24 * 60 * 60 * 1000

export const pieceId = ({
  content,
  piece,
  nonce,
}: Pick<PieceRecord, 'content' | 'piece' | 'nonce'>): string => recordId(content, piece, nonce)

/** The longest that a piece waits for another look at what is missing, in milliseconds. */
const LONGEST_BACKOFF = 6 * 60 * 60 * 1000

/**
 * How long until a piece at this stage is looked at again. What we wait for to change by itself, content that is
 * not there or an aggregator that refuses, is tried again after as long as it has been so.
 */
export const nextCheck = (
  { stage, times }: Pick<PieceRecord, 'stage' | 'times'>,
  now: number,
  { retry, poll }: Timing,
): number => {
  if (stage === 'aggregated') return SAFETY_CHECK
  if (stage === 'queued') return poll
  return Math.max(retry, Math.min(now - (times[stage] ?? now), LONGEST_BACKOFF))
}

type Offer = Pick<PieceRecord, 'content' | 'piece' | 'nonce' | 'group' | 'submit' | 'accept'>

export const offered = (offer: Offer, now: number, timing: Timing): PieceRecord => {
  const id = pieceId(offer)
  const stage = 'offered'
  const times = { offered: now }
  return { ...offer, id, stage, times, ...dueAt(id, now + nextCheck({ stage, times }, now, timing)) }
}

/**
 * The transitions. Each returns the record as it becomes, or `undefined` where the event is behind it: messages
 * and receipts come twice and late.
 */
type Transition = Stored<PieceRecord> | undefined

/** The longest that a run may read content, in milliseconds; a function's longest. */
const LONGEST_READ = 900_000

/** Somebody reads the content: nobody else is sent to it meanwhile. */
export const reading = (record: Stored<PieceRecord>, now: number): Transition =>
  record.stage === 'offered' ? { ...record, ...dueAt(record.id, now + LONGEST_READ) } : undefined

export const submitted = (
  record: Stored<PieceRecord>,
  pieceOffer: Uint8Array,
  now: number,
  timing: Timing,
): Transition =>
  record.stage === 'offered' ? reach('submitted', { ...record, pieceOffer }, now, timing) : undefined

export const queued = (
  record: Stored<PieceRecord>,
  waitsFor: string,
  now: number,
  timing: Timing,
): Transition =>
  record.stage === 'submitted' ? reach('queued', { ...record, waitsFor }, now, timing) : undefined

interface Membership {
  aggregate: string
  aggregateId: string
  inclusion: Uint8Array
}

export const aggregated = (
  record: Stored<PieceRecord>,
  membership: Membership,
  now: number,
  timing: Timing,
): Transition =>
  record.stage === 'queued'
    ? reach(
        'aggregated',
        { ...record, ...membership, memberOf: memberShard(membership.aggregateId, record.id) },
        now,
        timing,
      )
    : undefined

export const accepted = (record: Stored<PieceRecord>, now: number): Transition =>
  record.stage === 'aggregated' ? end('accepted', record, now) : undefined

/** The content is not what the piece says: nothing will follow. */
export const failed = (record: Stored<PieceRecord>, now: number): Transition =>
  record.stage === 'offered' ? end('failed', record, now) : undefined

const reach = (
  stage: Stage,
  record: Stored<PieceRecord>,
  now: number,
  timing: Timing,
): Stored<PieceRecord> => {
  const times = { ...record.times, [stage]: now }
  return { ...record, stage, times, ...dueAt(record.id, now + nextCheck({ stage, times }, now, timing)) }
}

const end = (stage: Stage, record: Stored<PieceRecord>, now: number): Stored<PieceRecord> => ({
  ...record,
  stage,
  times: { ...record.times, [stage]: now },
  ...notDue,
})

/** The members of an aggregate are cut in ranges that are worked on side by side. */
export const MEMBER_SHARDS = 16

/** The partition of the index by aggregate that a piece is in. */
export const memberShard = (aggregateId: string, id: string): string =>
  `${aggregateId}#${Buffer.from(id, 'base64url').readUInt8(0) % MEMBER_SHARDS}`
