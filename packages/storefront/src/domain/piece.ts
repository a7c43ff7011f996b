import { hash } from 'node:crypto'
import type { Failure, Stage } from '@w3filecoin/capabilities'
import { type Due, dueAt, notDue, recordId, type Stored } from '@w3filecoin/runtime'

/** A content piece on its way to a deal, once for every content and nonce that it is offered with. */
export interface PieceRecord extends Due {
  id: string
  content: string
  piece: string
  nonce?: string | undefined
  /** What the aggregator groups by: the provider of the space that the piece was first offered from. */
  group: string
  stage: Stage
  /** The stages that it passed, in order, and when each was reached, in milliseconds since 1970. */
  history: { stage: Stage; at: number }[]
  /** What went wrong at this stage, and is being tried again. */
  trouble?: { message: string; at: number; times: number; found?: Found | undefined } | undefined
  /** Why it `failed`. */
  reason?: { name: string; message: string } | undefined
  /** The promised tasks, packed. */
  submitTask: Uint8Array
  acceptTask: Uint8Array
  /** The `piece/offer` that `filecoin/submit` promised, packed. From `submitted` on. */
  pieceOfferTask?: Uint8Array | undefined
  /** CID of the `piece/accept` that the aggregator promised, and the nonce of the offer. From `queued` on. */
  waitsFor?: string | undefined
  offerNonce?: string | undefined
  /** Record id, piece CID, and proof (DAG-CBOR) of the aggregate. From `aggregated` on. */
  aggregateId?: string | undefined
  aggregate?: string | undefined
  inclusion?: Uint8Array | undefined
  /** Partition of the index by aggregate; see {@link memberShard}. */
  memberOf?: string | undefined
  /** The aggregates that it was in before, which got no deal, each with the proof (DAG-CBOR). */
  former?: { aggregate: string; inclusion: Uint8Array }[] | undefined
  /** CID of the `piece/offer` by which the dealer offered it again. From `retried` on. */
  retryOfferCid?: string | undefined
}

/** The piece that content hashed to, which was not the one that was offered, and when that was noted first. */
interface Found {
  piece: string
  at: number
}

/**
 * Pieces in an aggregate are told of its deal when the aggregate's outcome arrives. Should all that sees to that fail, each
 * looks for itself after this long.
 */
export const SAFETY_CHECK_MS = 7 * 24 * 60 * 60 * 1000

/** Intervals in milliseconds. */
export interface Timing {
  /** Until work of our own is sent again. */
  retryMs: number
  /** Until another service is asked for a receipt that it should have sent. */
  pollMs: number
  /** Until content that is not there, or can not be read, is waited for no more. */
  contentWaitMs: number
  /** Until a piece in an aggregate looks for the aggregate's outcome by itself. */
  safetyCheckMs: number
}

export const pieceId = ({
  content,
  piece,
  nonce,
}: Pick<PieceRecord, 'content' | 'piece' | 'nonce'>): string => recordId(content, piece, nonce)

/** The longest that a piece waits for another look at what is missing, in milliseconds. */
const MAX_BACKOFF_MS = 6 * 60 * 60 * 1000

/**
 * How long until a piece at this stage is looked at again. What we wait for to change by itself, content that is
 * not there or an aggregator that refuses, is tried again after as long as it has been so.
 */
export const nextCheckMs = (
  record: Pick<PieceRecord, 'stage' | 'history'>,
  now: number,
  { retryMs, pollMs, safetyCheckMs }: Timing,
): number => {
  if (record.stage === 'aggregated') return safetyCheckMs
  if (record.stage === 'queued') return pollMs
  return Math.max(retryMs, Math.min(now - stageReachedAt(record), MAX_BACKOFF_MS))
}

/** When it reached the stage that it is at. */
export const stageReachedAt = ({ history }: Pick<PieceRecord, 'history'>): number => history.at(-1)?.at ?? 0

type Offer = Pick<PieceRecord, 'content' | 'piece' | 'nonce' | 'group' | 'submitTask' | 'acceptTask'>

export const newPiece = (offer: Offer, now: number, timing: Timing): PieceRecord => {
  const id = pieceId(offer)
  const start = { stage: 'offered' as const, history: [{ stage: 'offered' as const, at: now }] }
  return { ...offer, ...start, id, ...dueAt(id, now + nextCheckMs(start, now, timing)) }
}

/**
 * The transitions. Each returns the record as it becomes, or `undefined` where the event is behind it: messages
 * and receipts come twice and late.
 */
type Transition = Stored<PieceRecord> | undefined

/** Somebody reads the content, and says so again as long as that goes on: nobody else is sent to it meanwhile. */
export const renewClaim = (record: Stored<PieceRecord>, now: number, { retryMs }: Timing): Transition =>
  record.stage === 'offered' ? { ...record, ...dueAt(record.id, now + retryMs) } : undefined

/** Something went wrong that may go right later: it is tried again after as long as it has been at this stage. */
export const recordProblem = (
  record: Stored<PieceRecord>,
  stage: Stage,
  message: string,
  now: number,
  timing: Timing,
  /** The piece that the content hashed to. */
  found?: string,
): Transition => {
  if (record.stage !== stage) return undefined
  const { times = 0, found: before } = record.trouble ?? {}
  const noted = found === undefined || found === before?.piece ? before : { piece: found, at: now }
  return {
    ...record,
    trouble: { message, at: now, times: times + 1, ...(noted && { found: noted }) },
    ...dueAt(record.id, now + nextCheckMs(record, now, timing)),
  }
}

/**
 * Whether another piece than the one offered is what the content hashes to, where nothing else says that the bytes were the
 * content: another look, some time ago, came to the same.
 */
export const isConfirmed = (
  { trouble }: Pick<PieceRecord, 'trouble'>,
  found: string,
  /** When this look began. */
  began: number,
  { retryMs }: Timing,
): boolean => trouble?.found?.piece === found && began - trouble.found.at >= retryMs

export const markSubmitted = (
  record: Stored<PieceRecord>,
  pieceOfferTask: Uint8Array,
  now: number,
  timing: Timing,
): Transition =>
  record.stage === 'offered' ? enterStage('submitted', { ...record, pieceOfferTask }, now, timing) : undefined

export const markQueued = (
  record: Stored<PieceRecord>,
  { waitsFor, nonce }: { waitsFor: string; nonce: string | undefined },
  now: number,
  timing: Timing,
): Transition =>
  record.stage === 'submitted' || record.stage === 'retried'
    ? enterStage('queued', { ...record, waitsFor, offerNonce: nonce }, now, timing)
    : undefined

interface Membership {
  aggregate: string
  aggregateId: string
  inclusion: Uint8Array
}

export const markAggregated = (
  record: Stored<PieceRecord>,
  membership: Membership,
  now: number,
  timing: Timing,
): Transition =>
  record.stage === 'queued'
    ? enterStage(
        'aggregated',
        { ...record, ...membership, memberOf: memberShard(membership.aggregateId, record.piece) },
        now,
        timing,
      )
    : undefined

/** Its aggregate got no deal; `retry` is the `piece/offer` by which the dealer offers it again. */
export const markRetried = (
  record: Stored<PieceRecord>,
  from: { aggregateId: string; retry: string },
  now: number,
  timing: Timing,
): Transition => {
  const { aggregate, aggregateId, inclusion, memberOf: _, former = [], ...rest } = record
  if (record.stage !== 'aggregated' || aggregateId !== from.aggregateId) return undefined
  return enterStage(
    'retried',
    {
      ...rest,
      former: [...former, { aggregate: aggregate as string, inclusion: inclusion as Uint8Array }],
      waitsFor: undefined,
      retryOfferCid: from.retry,
    },
    now,
    timing,
  )
}

/** The workflow has its last receipt: nobody looks for it among the pieces of its aggregate any more. */
export const markEnded = (
  { trouble: _, memberOf: __, ...record }: Stored<PieceRecord>,
  reason: Failure | undefined,
  now: number,
): Transition => {
  if (record.stage === 'accepted' || record.stage === 'failed') return undefined
  const stage = reason === undefined ? 'accepted' : 'failed'
  return {
    ...record,
    stage,
    history: [...record.history, { stage, at: now }],
    reason: reason && { name: reason.name, message: reason.message },
    ...notDue,
  }
}

const enterStage = (
  stage: Stage,
  { trouble: _, ...record }: Stored<PieceRecord>,
  now: number,
  timing: Timing,
): Stored<PieceRecord> => {
  const reached = { stage, history: [...record.history, { stage, at: now }] }
  return { ...record, ...reached, ...dueAt(record.id, now + nextCheckMs(reached, now, timing)) }
}

/** The members of an aggregate are cut in ranges that are worked on side by side. */
export const MEMBER_SHARDS = 16

/** The range that a piece is in. */
export const shardOf = (piece: string): number => hash('sha256', piece, 'buffer').readUInt8(0) % MEMBER_SHARDS

/** The partition of the index by aggregate that a piece is in. */
export const memberShard = (aggregateId: string, piece: string): string => `${aggregateId}#${shardOf(piece)}`
