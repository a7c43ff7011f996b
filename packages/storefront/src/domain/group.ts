import {
  addTrouble,
  backoffMs,
  type Due,
  dueAt,
  notDue,
  type Stored,
  type Trouble,
} from '@w3filecoin/runtime'
import { MAX_INDEX_LAG_MS } from './member-shards.ts'
import type { Timing } from './piece.ts'

/**
 * A group with pieces at stage `queued`. The aggregator is asked about the group, and not about each piece: it puts the
 * oldest pieces into an aggregate first, so a few of them show whether there was one.
 */
export interface GroupRecord extends Due {
  /** Key: the name of the group. */
  id: string
  /** `idle`: no piece is queued. The record stays, and costs nothing. */
  stage: 'polled' | 'idle'
  /** When a piece of the group got into an aggregate, in milliseconds since 1970; else when the group became `polled`. */
  newsAt: number
  /** When the aggregator was last asked about some pieces, and when about all of them. */
  askedAt: number
  walkedAt: number
  /** When a piece was last queued; up to `QUEUED_GRAIN_MS` too early, so that many pieces cause few writes. */
  queuedAt: number
  /** The problem of the last question, if the aggregator could not be reached. */
  trouble?: Trouble | undefined
}

/** Time between two questions about all queued pieces of a group. */
const WALK_MS = 24 * 60 * 60 * 1000

/** Much less than {@link MAX_INDEX_LAG_MS}. */
const QUEUED_GRAIN_MS = 60 * 60 * 1000

export const newGroup = (id: string, now: number, { pollMs }: Timing): GroupRecord => ({
  id,
  stage: 'polled',
  newsAt: now,
  askedAt: now,
  walkedAt: now,
  queuedAt: now,
  ...dueAt(id, now + pollMs),
})

/**
 * Returns the time until the next question about a group: with exponential backoff, as long as there was no news, between
 * `pollMs` and six hours.
 */
export const nextPollMs = (
  { newsAt }: Pick<GroupRecord, 'newsAt'>,
  now: number,
  { pollMs }: Timing,
): number => backoffMs(now - newsAt, pollMs)

/** Has a group polled in which a piece is about to be queued. */
export const ensurePolled = (
  record: Stored<GroupRecord>,
  now: number,
  timing: Timing,
): Stored<GroupRecord> | undefined => {
  if (record.stage === 'idle') return { ...newGroup(record.id, now, timing), revision: record.revision }
  return Math.abs(now - record.queuedAt) < QUEUED_GRAIN_MS ? undefined : { ...record, queuedAt: now }
}

/**
 * Records that a piece of the group got into an aggregate, so others probably did, and their receipts may be lost. The
 * aggregator is asked soon, but not at once: most receipts are still being delivered.
 */
export const recordNews = (
  record: Stored<GroupRecord>,
  now: number,
  { retryMs }: Timing,
): Stored<GroupRecord> | undefined => {
  const soon = now + retryMs
  const isRecorded = hasNews(record) && record.checkAt !== undefined && record.checkAt <= soon
  return isRecorded ? undefined : { ...record, stage: 'polled', newsAt: now, ...dueAt(record.id, soon) }
}

/** Whether there was news since the last question. */
export const hasNews = ({ newsAt, askedAt }: Pick<GroupRecord, 'newsAt' | 'askedAt'>): boolean =>
  newsAt > askedAt

/** Whether it is time to ask about all queued pieces. A time far ahead was written by a wrong clock. */
export const isWalkDue = ({ walkedAt }: Pick<GroupRecord, 'walkedAt'>, now: number): boolean =>
  Math.abs(now - walkedAt) >= WALK_MS

/**
 * @param asked.startedAt when the questions were prepared: news since then is news
 * @param asked.problem why the aggregator could not be asked
 */
export const markAsked = (
  record: Stored<GroupRecord>,
  { isWalk, startedAt, problem }: { isWalk: boolean; startedAt: number; problem?: string | undefined },
  now: number,
  timing: Timing,
): Stored<GroupRecord> => ({
  ...record,
  askedAt: startedAt,
  ...(isWalk && { walkedAt: startedAt }),
  trouble: problem === undefined ? undefined : addTrouble(record.trouble, problem, now),
  ...dueAt(record.id, now + nextPollMs(record, now, timing)),
})

/** Whether a group without a queued piece in the index has none: the index may lag. */
export const mayBeIdle = ({ queuedAt }: Pick<GroupRecord, 'queuedAt'>, now: number): boolean =>
  Math.abs(now - queuedAt) >= MAX_INDEX_LAG_MS

export const markIdle = (record: Stored<GroupRecord>): Stored<GroupRecord> => ({
  ...record,
  stage: 'idle',
  trouble: undefined,
  ...notDue,
})
