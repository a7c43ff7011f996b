import type { DID } from '@ucanto/interface'
import { type Due, dueAt, notDue, recordId, type Stored } from '@w3filecoin/runtime'

/**
 * A piece that a storefront offered:
 *
 * - `offered`: to be put into the list of its group
 * - `pending` in that list
 * - `included` in an aggregate; the end
 */
export interface PieceRecord extends Due {
  id: string
  storefront: DID
  group: string
  piece: string
  /** Padded bytes. */
  size: number
  nonce?: string | undefined
  stage: 'offered' | 'pending' | 'included'
  /** When it was offered, in milliseconds since 1970. */
  offeredAt: number
  /** The promised `piece/accept`, packed. */
  acceptTask: Uint8Array
  /** Record id of the aggregate. From `included` on. */
  aggregateId?: string | undefined
  /** Which attempt to get it into a deal this is, from 2; absent for the first. */
  attempt?: number | undefined
}

/** Aggregates that a piece may be in without a deal, before it is given up. */
export const MAX_ATTEMPTS = 10

export type Offer = Pick<PieceRecord, 'storefront' | 'group' | 'piece' | 'size' | 'nonce' | 'attempt'>

/**
 * The key of a piece. `piece/accept` does not say whose piece it is, and a task has one receipt; so the first
 * storefront to offer a piece in a group has the plain key and task, and another one's name it.
 */
export const pieceId = (
  { group, piece, nonce }: Pick<Offer, 'group' | 'piece' | 'nonce'>,
  storefront?: DID,
): string =>
  storefront === undefined ? recordId(group, piece, nonce) : recordId(group, piece, nonce, storefront)

export const newPiece = (
  offer: Offer & { id: string; acceptTask: Uint8Array },
  now: number,
  retryMs: number,
): PieceRecord => ({ ...offer, stage: 'offered', offeredAt: now, ...dueAt(offer.id, now + retryMs) })

/** In the list of its group; from here on the group is looked after. */
export const markPending = (record: Stored<PieceRecord>): Stored<PieceRecord> | undefined =>
  record.stage === 'offered' ? { ...record, stage: 'pending', ...notDue } : undefined

export const markIncluded = (
  record: Stored<PieceRecord>,
  aggregateId: string,
): Stored<PieceRecord> | undefined =>
  record.stage === 'included' ? undefined : { ...record, stage: 'included', aggregateId, ...notDue }

/** A row in the list of a group. A pure function of the piece's record, so writing it twice is writing it once. */
export interface PendingRecord {
  group: string
  /** Sorts the list: what is tried again first, then by age. */
  order: string
  id: string
  piece: string
  /** Padded bytes. */
  size: number
  offeredAt: number
}

export const pendingRow = ({
  id,
  storefront,
  group,
  piece,
  size,
  offeredAt,
  attempt,
}: PieceRecord): PendingRecord => ({
  group: groupId({ storefront, group }),
  order: `${attempt === undefined ? 1 : 0}-${`${offeredAt}`.padStart(14, '0')}-${id}`,
  id,
  piece,
  size,
  offeredAt,
})

/** Which record of a piece an aggregate holds: a piece is in an aggregate once. */
export interface MemberRecord {
  /** Record id of the aggregate. */
  aggregate: string
  piece: string
  /** Record id of the piece. */
  id: string
}

/** Pieces are aggregated by storefront and group. */
export const groupId = ({ storefront, group }: Pick<Offer, 'storefront' | 'group'>): string =>
  recordId(storefront, group)
