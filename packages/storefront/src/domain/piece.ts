import type { Failure, Stage } from '@w3filecoin/capabilities'
import { type Due, dueAt, notDue, recordId, type Stored, stageRules } from '@w3filecoin/runtime'
import { memberShard, shardOf } from './member-shards.ts'

/** A content piece on its way to a deal: one record per content, piece and nonce. */
export interface PieceRecord extends Due {
  /** Key; see {@link pieceId}. */
  id: string
  content: string
  piece: string
  nonce?: string | undefined
  /** The aggregator groups pieces by it: the provider of the space of the first offer. */
  group: string
  stage: Stage
  /** The stages that the piece entered, in order, with times in milliseconds since 1970. */
  history: { stage: Stage; at: number }[]
  /** The last problem at this stage, if the step is still being retried. */
  trouble?: { message: string; at: number; times: number; found?: Found | undefined } | undefined
  /** Why the piece `failed`. */
  reason?: { name: string; message: string } | undefined
  /** The promised `filecoin/submit` and `filecoin/accept`, packed. */
  submitTask: Uint8Array
  acceptTask: Uint8Array
  /** The `piece/offer` that `filecoin/submit` promised, packed. From `submitted` on. */
  pieceOfferTask?: Uint8Array | undefined
  /** CID of the `piece/accept` that the aggregator promised, and the nonce of the offer. From `queued` on. */
  waitsFor?: string | undefined
  offerNonce?: string | undefined
  /** Record key, piece CID and inclusion proof (DAG-CBOR) of the aggregate. From `aggregated` on. */
  aggregateId?: string | undefined
  aggregate?: string | undefined
  inclusion?: Uint8Array | undefined
  /** Partition key of the index by aggregate; see {@link memberShard}. Only while `aggregated`. */
  memberOf?: string | undefined
  /** Earlier aggregates of the piece, which got no deal, with their inclusion proofs (DAG-CBOR). */
  former?: { aggregate: string; inclusion: Uint8Array }[] | undefined
  /** CID of the `piece/offer` by which the dealer offered the piece again. From `retried` on. */
  retryOfferCid?: string | undefined
}

/** A piece that the content hashed to, different from the offered one, and the time when that was first recorded. */
interface Found {
  piece: string
  at: number
}

/** `isFinal`: the workflow has ended, so nothing changes the record. */
export const { canBecome, isFinal } = stageRules<Stage>({
  offered: ['submitted', 'accepted', 'failed'],
  submitted: ['queued', 'accepted', 'failed'],
  queued: ['aggregated', 'accepted', 'failed'],
  aggregated: ['retried', 'accepted', 'failed'],
  retried: ['queued', 'accepted', 'failed'],
  accepted: [],
  failed: [],
})

/**
 * The outcome of an aggregate is sent to its pieces when it arrives, and again until no piece is left. If all of that fails,
 * each piece asks for the outcome itself after this time.
 */
export const SAFETY_CHECK_MS = 7 * 24 * 60 * 60 * 1000

/** Intervals in milliseconds. */
export interface Timing {
  /** Until the storefront's own work is sent again. */
  retryMs: number
  /** Until another service is asked for a receipt that it should have sent. */
  pollMs: number
  /** Until content that does not exist, or cannot be read, is abandoned. */
  contentWaitMs: number
  /** Until a piece in an aggregate asks for the outcome of the aggregate itself. */
  safetyCheckMs: number
}

/**
 * Returns the key of a piece record: a hash, so that the same offer finds the same record.
 *
 * @example pieceId({ content: 'bafkrei…', piece: 'bafkzci…', nonce: undefined }) // 43 characters of base64url
 */
export const pieceId = ({
  content,
  piece,
  nonce,
}: Pick<PieceRecord, 'content' | 'piece' | 'nonce'>): string => recordId(content, piece, nonce)

/** Maximum time between two checks of a piece that waits for missing content or for a refusing aggregator. */
const MAX_BACKOFF_MS = 6 * 60 * 60 * 1000

/**
 * Returns the time until the next check of a piece at this stage. A step that only time can fix, such as missing content or
 * an aggregator that refuses, is retried with exponential backoff: after as long as the piece is at its stage already.
 */
export const nextCheckMs = (
  record: Pick<PieceRecord, 'stage' | 'history'>,
  now: number,
  { retryMs, pollMs, safetyCheckMs }: Timing,
): number => {
  const { stage } = record
  switch (stage) {
    case 'aggregated':
      return safetyCheckMs
    case 'queued':
      return pollMs
    case 'offered':
    case 'submitted':
    case 'retried':
    case 'accepted':
    case 'failed':
      break
    default:
      stage satisfies never
  }
  return Math.max(retryMs, Math.min(now - stageReachedAt(record), MAX_BACKOFF_MS))
}

/** Returns the time when the piece entered its stage, in milliseconds since 1970. */
export const stageReachedAt = ({ history }: Pick<PieceRecord, 'history'>): number => history.at(-1)?.at ?? 0

type Offer = Pick<PieceRecord, 'content' | 'piece' | 'nonce' | 'group' | 'submitTask' | 'acceptTask'>

export const newPiece = (offer: Offer, now: number, timing: Timing): PieceRecord => {
  const id = pieceId(offer)
  const start = { stage: 'offered' as const, history: [{ stage: 'offered' as const, at: now }] }
  return { ...offer, ...start, id, ...dueAt(id, now + nextCheckMs(start, now, timing)) }
}

/**
 * The changed record, or `undefined` if the event does not apply to its stage: messages and receipts may arrive twice, and
 * late.
 */
type Transition = Stored<PieceRecord> | undefined

/** Delays the next check, because a run reads the content now: the sweep must not send another run to it. */
export const renewClaim = (record: Stored<PieceRecord>, now: number, { retryMs }: Timing): Transition =>
  record.stage === 'offered' ? { ...record, ...dueAt(record.id, now + retryMs) } : undefined

/** Records a problem that may pass, and schedules the retry; see {@link nextCheckMs}. */
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
  const latest = found === undefined || found === before?.piece ? before : { piece: found, at: now }
  return {
    ...record,
    trouble: { message, at: now, times: times + 1, ...(latest && { found: latest }) },
    ...dueAt(record.id, now + nextCheckMs(record, now, timing)),
  }
}

/**
 * Whether an earlier read, at least `retryMs` ago, found the same piece. It takes two reads to reject an offer when the CID
 * cannot confirm the bytes.
 */
export const isConfirmed = (
  { trouble }: Pick<PieceRecord, 'trouble'>,
  found: string,
  /** Start of the current read. */
  startedAt: number,
  { retryMs }: Timing,
): boolean => trouble?.found?.piece === found && startedAt - trouble.found.at >= retryMs

export const markSubmitted = (
  record: Stored<PieceRecord>,
  pieceOfferTask: Uint8Array,
  now: number,
  timing: Timing,
): Transition => enterStage('submitted', record, { pieceOfferTask }, now, timing)

export const markQueued = (
  record: Stored<PieceRecord>,
  { waitsFor, nonce }: { waitsFor: string; nonce: string | undefined },
  now: number,
  timing: Timing,
): Transition => enterStage('queued', record, { waitsFor, offerNonce: nonce }, now, timing)

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
): Transition => {
  const memberOf = memberShard(membership.aggregateId, shardOf(record.piece))
  return enterStage('aggregated', record, { ...membership, memberOf }, now, timing)
}

/** The aggregate got no deal; `retry` is the CID of the `piece/offer` by which the dealer offers the piece again. */
export const markRetried = (
  record: Stored<PieceRecord>,
  from: { aggregateId: string; retry: string },
  now: number,
  timing: Timing,
): Transition => {
  const { aggregate, aggregateId, inclusion, memberOf: _, former = [], ...rest } = record
  if (aggregateId !== from.aggregateId || aggregate === undefined || inclusion === undefined) return undefined
  const change = {
    former: [...former, { aggregate, inclusion }],
    waitsFor: undefined,
    retryOfferCid: from.retry,
  }
  return enterStage('retried', rest, change, now, timing)
}

/** The last receipt of the workflow is stored: the piece `failed` if there is a reason, else it is `accepted`. */
export const markEnded = (
  { trouble: _, memberOf: __, ...record }: Stored<PieceRecord>,
  reason: Failure | undefined,
  now: number,
): Transition => {
  const stage = reason === undefined ? 'accepted' : 'failed'
  if (!canBecome(record, stage)) return undefined
  return {
    ...record,
    stage,
    history: [...record.history, { stage, at: now }],
    reason: reason && { name: reason.name, message: reason.message },
    ...notDue,
  }
}

/** Applies the change and schedules the next check, if the stage may follow that of the record. */
const enterStage = (
  stage: Stage,
  { trouble: _, ...record }: Stored<PieceRecord>,
  change: Partial<PieceRecord>,
  now: number,
  timing: Timing,
): Transition => {
  if (!canBecome(record, stage)) return undefined
  const entered = { stage, history: [...record.history, { stage, at: now }] }
  const due = dueAt(record.id, now + nextCheckMs(entered, now, timing))
  return { ...record, ...change, ...entered, ...due }
}
