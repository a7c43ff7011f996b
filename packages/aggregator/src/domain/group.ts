import type { DID } from '@ucanto/interface'
import { type Due, dueAt, type Stored } from '@w3filecoin/runtime'
import { groupId } from './piece.ts'

/** The decision to put pieces of a group into an aggregate. It names everything that the remaining steps need. */
export interface Seal {
  /** Counts the aggregates of the group, from 1. */
  sequence: number
  /** Piece CID of the aggregate. */
  aggregate: string
  /** CID of the DAG-CBOR list of the pieces, in the order of the aggregate. */
  pieces: string
  /** CID of the DAG-CBOR list of the record ids of the pieces. */
  members: string
  /** CID of the DAG-CBOR list of the CIDs of the ranges, each a list of `RangeEntry`. */
  ranges: string
  sealedAt: number
}

/**
 * The pieces of a storefront and group. A group is always in the sweep index, also when it is idle: groups are few, and
 * a piece may be added at the moment when the last one leaves.
 */
export interface GroupRecord extends Required<Due> {
  /** @see {@link groupId} */
  id: string
  storefront: DID
  group: string
  /** Number of aggregates sealed so far. */
  sequence: number
  /** Aggregates some of whose pieces have no receipts yet. Those pieces may still be in the list of the group. */
  openSeals: Seal[]
}

/** Counts the pending pieces of a group. The numbers may be wrong: the sealer corrects them when it reads the list. */
export interface TallyRecord {
  id: string
  pieces: number
  /** Padded bytes. */
  bytes: number
}

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
