import type { DID } from '@ucanto/interface'
import {
  backoffMs,
  type Due,
  dueAt,
  type Entered,
  isFromWrongClock,
  notDue,
  type Stored,
} from '@w3filecoin/runtime'
import { type Fill, isEnough, isFull, type Limits } from './limits.ts'
import { groupId } from './piece.ts'

/** The decision to put pieces of a group into an aggregate. It names everything that the remaining steps need. */
export interface Seal {
  /** Counts the aggregates of the group, from 1. */
  sequence: number
  /** Piece CID of the aggregate. */
  aggregate: string
  /** CID of the DAG-CBOR list of the pieces, in the order of the aggregate. */
  pieces: string
  /**
   * CID of the DAG-CBOR list of the CIDs of shards, each a list of `[piece, record id]`: see `sealing/members.ts`. Absent in
   * seals of earlier code.
   */
  memberShards?: string | undefined
  /** CID of the DAG-CBOR list of the record ids of the pieces, in seals of earlier code. Their pieces have rows of `member`. */
  members?: string | undefined
  /** CID of the DAG-CBOR list of the CIDs of the ranges, each a list of `RangeEntry`. */
  ranges: string
  sealedAt: number
}

/**
 * The pieces of a storefront and group. A group is in the sweep index until it is forgotten, see {@link recordCount}. A
 * new piece brings it back, see {@link wake}.
 */
export interface GroupRecord extends Due, Entered {
  /** @see {@link groupId} */
  id: string
  storefront: DID
  group: string
  /** Number of aggregates sealed so far. */
  sequence: number
  /** Aggregates some of whose pieces have no receipts yet. Those pieces may still be in the list of the group. */
  openSeals: Seal[]
  /** The last time that the whole list was read since the last seal. Absent in records of earlier code. */
  count?: Count | undefined
  /** Since when the list is empty, in milliseconds since 1970: the group may be forgotten. */
  idleSince?: number | undefined
}

/** The result of reading the whole list of a group. */
export interface Count {
  /** In milliseconds since 1970. */
  at: number
  /** When the oldest piece in the list was offered, in milliseconds since 1970. Absent if the list was empty. */
  oldestAt?: number | undefined
  /** Padded bytes of pieces that the next aggregate can hold, by the limits at that time. Absent in records of earlier code. */
  capacity?: number | undefined
}

/** Counts the pending pieces of a group. The numbers may be wrong: the sealer corrects them when it reads the list. */
export interface TallyRecord extends Fill {
  id: string
}

/** Maximum open seals of a group. At this bound, the sealer adds none until the pieces of one have their receipts. */
export const MAX_OPEN_SEALS = 4

/** Time that a group is idle before it is forgotten. Longer than a deploy: earlier code does not bring groups back. */
export const FORGET_MS = 24 * 60 * 60 * 1000

export const newGroup = (
  { storefront, group }: Pick<GroupRecord, 'storefront' | 'group'>,
  checkAt: number,
): GroupRecord => {
  const id = groupId({ storefront, group })
  return { id, storefront, group, sequence: 0, openSeals: [], ...dueAt(id, checkAt) }
}

/** Records the decision that the pieces of a seal are in its aggregate. */
export const addSeal = (group: Stored<GroupRecord>, seal: Seal, checkAt: number): Stored<GroupRecord> => ({
  ...group,
  sequence: seal.sequence,
  openSeals: [...group.openSeals, seal],
  count: undefined,
  idleSince: undefined,
  ...dueAt(group.id, checkAt),
})

/**
 * Removes seals whose pieces all have their receipts.
 *
 * @param done sequence numbers of these seals
 */
export const closeSeals = (group: Stored<GroupRecord>, done: ReadonlySet<number>): Stored<GroupRecord> => ({
  ...group,
  openSeals: group.openSeals.filter(({ sequence }) => !done.has(sequence)),
})

export const scheduleCheck = (group: Stored<GroupRecord>, checkAt: number): Stored<GroupRecord> => ({
  ...group,
  ...dueAt(group.id, checkAt),
})

/** When the oldest piece of the list has waited its maximum, in milliseconds since 1970. */
const findRipeAt = ({ at, oldestAt = at }: Count, { maxWaitMs }: Limits): number => oldestAt + maxWaitMs

/**
 * Whether the sealer must read the list of a group. The tally says cheaply that pieces are too few. But it misses pieces
 * whose run was interrupted, so the list is read nevertheless: when its oldest piece has waited its maximum, and then with
 * exponential backoff, after as long as the group has waited for its minimum already, and at the latest after six hours.
 *
 * @param pollMs the least time between two readings
 */
export const mustCount = (
  { count }: Pick<GroupRecord, 'count'>,
  tally: Fill,
  limits: Limits,
  now: number,
  pollMs: number,
): boolean => {
  if (count === undefined || isFromWrongClock(count.at, now) || isFull(tally, limits)) return true
  const ripeAt = findRipeAt(count, limits)
  if (now < ripeAt) return false
  if (count.at < ripeAt || isEnough(tally, limits)) return true
  return now - count.at >= backoffMs(count.at - ripeAt, pollMs)
}

/**
 * Returns the time of the next check of a group that is not ripe: when its oldest piece has waited its maximum, at most
 * `pollMs` from now.
 */
export const nextCheckAt = (
  { count }: Pick<GroupRecord, 'count'>,
  limits: Limits,
  now: number,
  pollMs: number,
): number => {
  const ripeAt = count === undefined ? now : findRipeAt(count, limits)
  return ripeAt > now ? Math.min(ripeAt, now + pollMs) : now + pollMs
}

/**
 * Records a reading of the whole list. A group whose list is empty is marked as idle, and forgotten when its list is still
 * empty after `FORGET_MS`: it leaves the sweep index.
 *
 * No piece is lost. A piece's row is written before its group is read. If the group was not marked then, the row is in
 * the list that is read before the group is forgotten. If it was marked, {@link wake} changes the revision of the record,
 * on which forgetting depends.
 */
export const recordCount = (
  group: Stored<GroupRecord>,
  { isEmpty, ...count }: Count & { isEmpty: boolean },
  checkAt: number,
): Stored<GroupRecord> => {
  const isIdle = isEmpty && group.openSeals.length === 0
  const marked = isIdle && group.idleSince !== undefined && !isFromWrongClock(group.idleSince, count.at)
  const idleSince = marked ? group.idleSince : count.at
  const isForgotten = marked && count.at - (idleSince as number) >= FORGET_MS
  return {
    ...group,
    count,
    idleSince: isIdle ? idleSince : undefined,
    ...(isForgotten ? notDue : dueAt(group.id, checkAt)),
  }
}

/**
 * Whether the pieces of a group did not reach its minimum when its list was last read, although the oldest one had waited its
 * maximum. A seal removes the count.
 */
export const isBelowMinimum = ({ count }: Pick<GroupRecord, 'count'>, limits: Limits): boolean =>
  count?.oldestAt !== undefined && count.at >= findRipeAt(count, limits)

/** Whether the group is out of the sweep index because nothing is left to do. */
export const isForgotten = ({ due, idleSince }: Pick<GroupRecord, 'due' | 'idleSince'>): boolean =>
  due === undefined && idleSince !== undefined

/** A piece was added: keeps an idle group in the sweep index, or brings it back. `undefined` if the group is not idle. */
export const wake = (group: Stored<GroupRecord>, checkAt: number): Stored<GroupRecord> | undefined =>
  group.idleSince === undefined ? undefined : scheduleCheck({ ...group, idleSince: undefined }, checkAt)
