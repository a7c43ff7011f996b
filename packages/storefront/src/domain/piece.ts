import { hash } from 'node:crypto'
import type { Failure, Stage } from '@w3filecoin/capabilities'
import {
  addTrouble,
  backoffMs,
  type Due,
  dueAt,
  type Entered,
  isFromWrongClock,
  type Keeper,
  notDue,
  recordId,
  type Stored,
  stageRules,
  type Translated,
  type Trouble,
} from '@w3filecoin/runtime'
import { memberShard, queuedShard, shardOf } from './member-shards.ts'

/** A content piece on its way to a deal: one record per content, piece and nonce, and per group. */
export interface PieceRecord extends Due, Entered, Translated {
  /** Key; see {@link pieceId}. */
  id: string
  content: string
  piece: string
  /** Piece CID v1, in which other systems name the piece. Absent in records of version 0.1.0. */
  root?: string | undefined
  nonce?: string | undefined
  /** The aggregator groups pieces by it: the provider of the spaces that offered the piece. */
  group: string
  /** DID of the space of the first offer. Absent in records of version 0.1.0. */
  space?: string | undefined
  stage: Stage
  /** The stages that the piece entered, in order, with times in milliseconds since 1970. */
  history: { stage: Stage; at: number }[]
  /** The last problem at this stage, if the step is still being retried. */
  trouble?: (Trouble & { found?: Found | undefined }) | undefined
  /** When the last offer renewed the wait for the content, in milliseconds since 1970. Absent if none did. */
  waitingSince?: number | undefined
  /**
   * Number of this attempt to read the content, from 2: the earlier ones ended with `ContentNotFound`. Absent for the first
   * one. The history has all attempts; each begins with `offered`.
   */
  attempt?: number | undefined
  /** Its content waits for a turn to be read: how often it was sent back, and until when. */
  postponed?: { times: number; until: number } | undefined
  /** Why the piece `failed`. */
  reason?: { name: string; message: string } | undefined
  /** CIDs of the promised `filecoin/submit` and `filecoin/accept`: see `TaskRecord`. Records of earlier code lack one or both. */
  submitCid?: string | undefined
  acceptCid?: string | undefined
  /** Only in records of earlier code: these tasks, and the `piece/offer` that `filecoin/submit` promised, packed. */
  submitTask?: Uint8Array | undefined
  acceptTask?: Uint8Array | undefined
  pieceOfferTask?: Uint8Array | undefined
  /** Keys of the addresses that get the receipt of `filecoin/accept`: see `ListenerRecord`. Absent if no offer named one. */
  listeners?: string[] | undefined
  /** CID of the `piece/accept` that the aggregator promised, and the nonce of the offer. From `queued` on. */
  waitsFor?: string | undefined
  offerNonce?: string | undefined
  /** Partition key and range key of the index of queued pieces; see {@link queuedShard}. Only while `queued`. */
  queuedIn?: string | undefined
  /** When the piece was queued first, in milliseconds since 1970: the aggregator puts retried pieces ahead of newer ones. */
  queuedAt?: number | undefined
  /** Record key and piece CID of the aggregate. From `aggregated` on. */
  aggregateId?: string | undefined
  aggregate?: string | undefined
  /** When the storefront first knew the aggregate, in milliseconds since 1970. It finds the proof: see `InclusionRecord`. */
  aggregateSince?: number | undefined
  /** Only in records of earlier code: the inclusion proof, in DAG-CBOR. */
  inclusion?: Uint8Array | undefined
  /** Partition key of the index by aggregate; see {@link memberShard}. Only while `aggregated`. */
  memberOf?: string | undefined
  /** Earlier aggregates of the piece, which got no deal: each with `aggregateSince`, or with `inclusion` if earlier code wrote it. */
  former?: { aggregate: string; since?: number | undefined; inclusion?: Uint8Array | undefined }[] | undefined
  /** CID of the `piece/offer` by which the dealer offered the piece again. From `retried` on. */
  retryOfferCid?: string | undefined
}

/** What a read found instead of the offered piece, and the time when that was first recorded. */
interface Found {
  /** The piece that the content hashed to, or `longer` if there are more bytes than the offered piece stands for. */
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
 * The record whose checks cover a piece that only waits: the aggregator is asked about the queued pieces of a group, and
 * for the outcome of an aggregate. The outcome is sent to the pieces when it arrives, and again until no piece is left.
 * `undefined` where the piece is checked itself, and for pieces that earlier code queued without their group.
 */
export const keeperOf = ({
  stage,
  group,
  queuedIn,
  aggregateId,
  memberOf,
}: Pick<PieceRecord, 'stage' | 'group' | 'queuedIn' | 'aggregateId' | 'memberOf'>): Keeper | undefined => {
  if (stage === 'queued' && queuedIn !== undefined) return { table: 'group', id: group }
  if (stage === 'aggregated' && aggregateId !== undefined && memberOf !== undefined)
    return { table: 'aggregate', id: aggregateId }
  return undefined
}

/** Earlier code checked a piece with a keeper after this time. */
export const EARLIER_CHECK_MS = 7 * 24 * 60 * 60 * 1000

/** Intervals in milliseconds. */
export interface Timing {
  /** Until the storefront's own work is sent again. */
  retryMs: number
  /** Until another service is asked for a receipt that it should have sent. */
  pollMs: number
  /** Until content that does not exist, or cannot be read, is abandoned. */
  contentWaitMs: number
}

/** What identifies the workflow of a piece, beside its group. */
export type Offered = Pick<PieceRecord, 'content' | 'piece' | 'nonce'>

/**
 * Returns the key of a piece record: a hash, so that the same offer finds the same record. The capability
 * `filecoin/accept` does not name the group, and a task has one receipt. Therefore the first group whose space offers a
 * piece has the plain key and tasks. The key and the tasks of every other group contain its name.
 *
 * @param group set unless the group was the first
 * @example pieceId({ content: 'bafkrei…', piece: 'bafkzci…', nonce: undefined }) // 43 characters of base64url
 */
export const pieceId = ({ content, piece, nonce }: Offered, group?: string): string =>
  group === undefined ? recordId(content, piece, nonce) : recordId(content, piece, nonce, group)

/** Returns the group of a record if its key and tasks contain it, else `undefined`: see {@link pieceId}. */
export const distinctGroup = (record: PieceRecord): string | undefined =>
  record.id === pieceId(record) ? undefined : record.group

/**
 * Returns the time until the next check of a piece at this stage. A step that only time can fix, such as missing content or
 * an aggregator that refuses, is retried with exponential backoff: after as long as the piece is at its stage already.
 */
export const nextCheckMs = (
  record: Pick<PieceRecord, 'stage' | 'history' | 'waitingSince'>,
  now: number,
  { retryMs, pollMs }: Timing,
): number => {
  const { stage } = record
  switch (stage) {
    case 'queued':
    case 'aggregated':
      // Only for a piece of earlier code without a keeper.
      return pollMs
    case 'offered':
      return backoffMs(now - waitsSince(record), retryMs)
    case 'submitted':
    case 'retried':
    case 'accepted':
    case 'failed':
      break
    default:
      stage satisfies never
  }
  return backoffMs(now - stageReachedAt(record), retryMs)
}

/** Returns the time when the piece entered its stage, in milliseconds since 1970. */
export const stageReachedAt = ({ history }: Pick<PieceRecord, 'history'>): number => history.at(-1)?.at ?? 0

/** Returns the start of the wait for the content of an `offered` piece: each offer renews it, see {@link renewWait}. */
const waitsSince = (record: Pick<PieceRecord, 'history' | 'waitingSince'>): number =>
  Math.max(record.waitingSince ?? 0, stageReachedAt(record))

/** Returns the time when the content of an `offered` piece is abandoned, in milliseconds since 1970. */
export const contentDeadline = (
  record: Pick<PieceRecord, 'history' | 'waitingSince'>,
  { contentWaitMs }: Pick<Timing, 'contentWaitMs'>,
): number => waitsSince(record) + contentWaitMs

type Offer = Offered &
  Pick<PieceRecord, 'root' | 'group' | 'space'> &
  Promises & {
    /** Whether a space of another group offered it first: see {@link pieceId}. Default: false. */
    isDistinct?: boolean
  }

/** The tasks that an attempt promises. */
export type Promises = Required<Pick<PieceRecord, 'submitCid' | 'acceptCid'>>

export const newPiece = ({ isDistinct, ...offer }: Offer, now: number, timing: Timing): PieceRecord => {
  const id = pieceId(offer, isDistinct ? offer.group : undefined)
  const start = { stage: 'offered' as const, history: [{ stage: 'offered' as const, at: now }] }
  const due = dueAt(id, now + nextCheckMs(start, now, timing))
  return { ...offer, ...start, id, ...due }
}

/** Whether storage providers may fetch the content: the storefront has read it, and the workflow has not failed. */
export const isFetchable = ({ stage }: Pick<PieceRecord, 'stage'>): boolean =>
  stage !== 'offered' && stage !== 'failed'

/**
 * The changed record, or `undefined` if the event does not apply to its stage: messages and receipts may arrive twice, and
 * late.
 */
type Transition = Stored<PieceRecord> | undefined

/** The part of the wait for content that must pass before an offer renews it, so that many offers cause few writes. */
const RENEWAL_SHARE = 0.1

/** Starts the wait for the content again, because the piece was offered again. */
export const renewWait = (record: Stored<PieceRecord>, now: number, { contentWaitMs }: Timing): Transition =>
  record.stage === 'offered' && now - waitsSince(record) >= contentWaitMs * RENEWAL_SHARE
    ? { ...record, waitingSince: now }
    : undefined

/** Maximum attempts of one workflow, so that its history has a bound. Each takes at least the wait for content. */
const MAX_CONTENT_ATTEMPTS = 100

/** Returns the number of the attempt that may follow, if this one ended because its content did not arrive. */
export const nextAttempt = ({ stage, reason, attempt = 1 }: PieceRecord): number | undefined =>
  stage === 'failed' && reason?.name === 'ContentNotFound' && attempt < MAX_CONTENT_ATTEMPTS
    ? attempt + 1
    : undefined

/** Starts an attempt after one whose content did not arrive. Only the attempt that follows the present one can start. */
export const startAttempt = (
  record: Stored<PieceRecord>,
  attempt: number,
  promises: Promises,
  now: number,
  timing: Timing,
): Transition => {
  if (nextAttempt(record) !== attempt) return undefined
  const {
    reason: _,
    trouble: __,
    waitingSince: ___,
    postponed: ____,
    translations: _____,
    listeners: ______,
    submitTask: _______,
    acceptTask: ________,
    ...kept
  } = record
  const entered = {
    stage: 'offered' as const,
    history: [...record.history, { stage: 'offered' as const, at: now }],
  }
  const due = dueAt(record.id, now + nextCheckMs(entered, now, timing))
  return { ...kept, ...promises, ...entered, ...due, attempt }
}

/** Maximum addresses that get the receipt of one `filecoin/accept`. */
export const MAX_LISTENERS = 10

/** Adds an address that gets the receipt of an attempt, also after its end, unless it has too many. */
export const addListener = (
  record: Stored<PieceRecord>,
  { id, attempt }: { id: string; attempt: number | undefined },
): Transition => {
  const { listeners = [] } = record
  return record.attempt !== attempt || listeners.includes(id) || listeners.length >= MAX_LISTENERS
    ? undefined
    : { ...record, listeners: [...listeners, id] }
}

/** Delays the next check, because a run reads the content now: the sweep must not send another run to it. */
export const renewClaim = (
  { postponed: _, ...record }: Stored<PieceRecord>,
  now: number,
  { retryMs }: Timing,
): Transition => (record.stage === 'offered' ? { ...record, ...dueAt(record.id, now + retryMs) } : undefined)

/** The least and the longest time until content that waits for its turn is tried again. */
const MIN_POSTPONE_MS = 5_000
const MAX_POSTPONE_MS = 5 * 60_000

/**
 * Postpones the read of a content for which there is no turn now, with exponential backoff and jitter, so that waiting
 * contents neither crowd the queue nor come at once. A message arrives at that time; the sweep sends one if it is lost.
 */
export const postpone = (record: Stored<PieceRecord>, now: number, { retryMs }: Timing): Transition => {
  if (record.stage !== 'offered') return undefined
  const { id, revision, postponed } = record
  const times = (postponed?.times ?? 0) + 1
  const longest = Math.min(MIN_POSTPONE_MS * 2 ** (times - 1), MAX_POSTPONE_MS)
  const jitter = hash('sha256', `${id} ${revision}`, 'buffer').readUInt8(0) / 255
  const until = Math.round(now + longest * (0.5 + jitter / 2))
  return { ...record, postponed: { times, until }, ...dueAt(id, until + retryMs) }
}

/** Whether the content waits for its turn. A time further ahead than the longest wait was written by a wrong clock. */
export const isPostponed = ({ postponed }: Pick<PieceRecord, 'postponed'>, now: number): boolean =>
  postponed !== undefined && now < postponed.until && postponed.until <= now + 2 * MAX_POSTPONE_MS

/** Records a problem that may pass, and schedules the retry; see {@link nextCheckMs}. */
export const recordProblem = (
  record: Stored<PieceRecord>,
  stage: Stage,
  message: string,
  now: number,
  timing: Timing,
  /** What the content hashed to; see {@link Found}. */
  found?: string,
): Transition => {
  if (record.stage !== stage) return undefined
  const before = record.trouble?.found
  const latest = found === undefined || found === before?.piece ? before : { piece: found, at: now }
  return {
    ...record,
    trouble: { ...addTrouble(record.trouble, message, now), ...(latest && { found: latest }) },
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
): boolean =>
  trouble?.found?.piece === found &&
  (startedAt - trouble.found.at >= retryMs || isFromWrongClock(trouble.found.at, startedAt))

export const markSubmitted = (record: Stored<PieceRecord>, now: number, timing: Timing): Transition =>
  enterStage('submitted', record, {}, now, timing)

export const markQueued = (
  record: Stored<PieceRecord>,
  { waitsFor, nonce }: { waitsFor: string; nonce: string | undefined },
  now: number,
  timing: Timing,
): Transition =>
  enterStage('queued', record, { waitsFor, offerNonce: nonce, ...queuedPlace(record, now) }, now, timing)

/** Puts a piece into the index of its group's queued pieces, if earlier code queued it. From here on, the group is polled. */
export const addToQueued = (record: Stored<PieceRecord>, now: number): Transition => {
  if (record.stage !== 'queued' || record.queuedIn !== undefined) return undefined
  return { ...record, ...queuedPlace(record, now), ...notDue }
}

const queuedPlace = ({ group, piece, history }: PieceRecord, now: number) => ({
  queuedIn: queuedShard(group, shardOf(piece)),
  queuedAt: history.find(({ stage }) => stage === 'queued')?.at ?? now,
})

interface Membership {
  aggregate: string
  aggregateId: string
  aggregateSince: number
}

export const markAggregated = (
  record: Stored<PieceRecord>,
  membership: Membership,
  now: number,
  timing: Timing,
): Transition => {
  const memberOf = memberShard(membership.aggregateId, shardOf(record.piece))
  const { queuedIn: _, queuedAt: __, ...rest } = record
  return enterStage('aggregated', rest, { ...membership, memberOf }, now, timing)
}

/** The aggregate got no deal; `retry` is the CID of the `piece/offer` by which the dealer offers the piece again. */
export const markRetried = (
  record: Stored<PieceRecord>,
  from: { aggregateId: string; retry: string },
  now: number,
  timing: Timing,
): Transition => {
  const { aggregate, aggregateId, aggregateSince, inclusion, memberOf: _, former = [], ...rest } = record
  if (aggregateId !== from.aggregateId || aggregate === undefined) return undefined
  const change = {
    former: [
      ...former,
      { aggregate, ...(inclusion === undefined ? { since: aggregateSince } : { inclusion }) },
    ],
    waitsFor: undefined,
    retryOfferCid: from.retry,
  }
  return enterStage('retried', rest, change, now, timing)
}

/**
 * The last receipt of an attempt is stored: the piece `failed` if there is a reason, else it is `accepted`. A run may report
 * the end of an attempt after the next one has started: that changes nothing.
 */
export const markEnded = (
  {
    trouble: _,
    postponed: __,
    memberOf: ___,
    queuedIn: ____,
    queuedAt: _____,
    ...record
  }: Stored<PieceRecord>,
  { attempt, reason }: { attempt: number | undefined; reason: Failure | undefined },
  now: number,
): Transition => {
  const stage = reason === undefined ? 'accepted' : 'failed'
  if (!canBecome(record, stage) || record.attempt !== attempt) return undefined
  return {
    ...record,
    stage,
    history: [...record.history, { stage, at: now }],
    reason: reason && { name: reason.name, message: reason.message },
    ...notDue,
  }
}

/**
 * Applies the change and schedules the next check, if the stage may follow that of the record. A check that is scheduled for about
 * the same time stays, because each entry that moves in the index costs two writes.
 */
const enterStage = (
  stage: Stage,
  { trouble: _, postponed: __, ...record }: Stored<PieceRecord>,
  change: Partial<PieceRecord>,
  now: number,
  timing: Timing,
): Transition => {
  if (!canBecome(record, stage)) return undefined
  const entered = { ...record, ...change, stage, history: [...record.history, { stage, at: now }] }
  if (keeperOf(entered) !== undefined) return { ...entered, ...notDue }
  const waitMs = nextCheckMs(entered, now, timing)
  const due = dueAt(record.id, now + waitMs)
  const isNear =
    record.due === due.due && record.checkAt !== undefined && isAbout(record.checkAt - now, waitMs)
  return { ...entered, ...(isNear ? {} : due) }
}

/** Whether the piece only waits for others: see `Lane`. */
export const isWaiting = ({ stage }: Pick<PieceRecord, 'stage'>): boolean =>
  stage === 'queued' || stage === 'aggregated'

/** Whether a check is neither much earlier nor later than it would be scheduled now. */
const isAbout = (leftMs: number, waitMs: number): boolean => leftMs > waitMs / 2 && leftMs <= waitMs
