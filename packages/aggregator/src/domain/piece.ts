import type { DID } from '@ucanto/interface'
import {
  type Due,
  type Entered,
  notDue,
  recordId,
  type Stored,
  stageRules,
  type Translated,
} from '@w3filecoin/runtime'

/**
 * The stage of a piece:
 *
 * - `offered`: it must be added to the list of its group. Only earlier code, before decision 0076, wrote this stage
 * - `pending`: it is in that list, or its offer is not answered yet; the sealer of the group checks it
 * - `included`: it is in an aggregate; this stage is final
 */
export type PieceStage = 'offered' | 'pending' | 'included'

export const { canBecome } = stageRules<PieceStage>({
  offered: ['pending', 'included'],
  pending: ['included'],
  included: [],
})

/** A piece that a storefront offered. */
export interface PieceRecord extends Due, Entered, Translated {
  /** @see {@link pieceId} */
  id: string
  storefront: DID
  group: string
  piece: string
  /** Padded bytes. */
  size: number
  nonce?: string | undefined
  stage: PieceStage
  /** When it was offered, in milliseconds since 1970. */
  offeredAt: number
  /** The promised `piece/accept`, packed. */
  acceptTask: Uint8Array
  /** Record id of the aggregate. Present from `included` on. */
  aggregateId?: string | undefined
  /** Number of this attempt to get the piece into a deal, from 2. Absent for the first attempt. */
  attempt?: number | undefined
}

/** Attempts to get a piece into a deal. After the last one, a retry is refused. */
export const MAX_ATTEMPTS = 10

/** A piece as it is added to a group. */
export type Offer = Pick<PieceRecord, 'storefront' | 'group' | 'piece' | 'size' | 'nonce' | 'attempt'>

/**
 * Returns the key of a piece. The capability `piece/accept` does not name the storefront, and a task has one receipt.
 * Therefore the first storefront that offers a piece in a group has the plain key and task. The key and the task of
 * every other storefront contain its DID.
 *
 * @param storefront set unless the storefront was the first
 * @example pieceId({ group: 'free', piece: 'bafkzci…' }) // 'kD3wbPzc…', 43 characters of base64url
 */
export const pieceId = (
  { group, piece, nonce }: Pick<Offer, 'group' | 'piece' | 'nonce'>,
  storefront?: DID,
): string =>
  storefront === undefined ? recordId(group, piece, nonce) : recordId(group, piece, nonce, storefront)

/** Returns the record of a piece that is about to be added to its list. The offer is answered only after that. */
export const newPiece = (
  offer: Offer & { id: string; acceptTask: Uint8Array },
  now: number,
): PieceRecord => ({ ...offer, stage: 'pending', offeredAt: now })

/** Records that a piece is in the list of its group. From here on, the sweep checks the group and not the piece. */
export const markPending = (record: Stored<PieceRecord>): Stored<PieceRecord> | undefined =>
  canBecome(record, 'pending') ? { ...record, stage: 'pending', ...notDue } : undefined

export const markIncluded = (
  record: Stored<PieceRecord>,
  aggregateId: string,
): Stored<PieceRecord> | undefined =>
  canBecome(record, 'included') ? { ...record, stage: 'included', aggregateId, ...notDue } : undefined

/** A row in the list of a group. It is a pure function of the piece's record, so it may be written again. */
export interface PendingRecord {
  group: string
  /**
   * Sorts the list: retries first, then by age. It consists of `0` for a retry or `1` for a first attempt, `offeredAt`
   * with 14 digits, and the piece's record id.
   *
   * @example '1-01700000000000-kD3wbPzc…'
   */
  order: string
  id: string
  piece: string
  /** Padded bytes. */
  size: number
  offeredAt: number
}

export const newPendingRow = ({
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

/** Names the piece's record for a piece in an aggregate of earlier code. */
export interface MemberRecord {
  /** Record id of the aggregate. */
  aggregate: string
  piece: string
  /** Record id of the piece. */
  id: string
}

/**
 * Returns the key of a group: pieces are aggregated by storefront and group.
 *
 * @example groupId({ storefront: 'did:web:store.example', group: 'free' }) // 'Yx0qU5-m…', 43 characters of base64url
 */
export const groupId = ({ storefront, group }: Pick<Offer, 'storefront' | 'group'>): string =>
  recordId(storefront, group)
