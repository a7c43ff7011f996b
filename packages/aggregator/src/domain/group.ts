import type { DID } from '@ucanto/interface'
import { type Due, dueAt, type Stored } from '@w3filecoin/runtime'
import { groupId } from './piece.ts'

/** An aggregate that a group was sealed into. All that follows from it can be completed from here. */
export interface Seal {
  /** Counts the aggregates of the group, from 1. */
  sequence: number
  aggregate: string
  /** Link of the DAG-CBOR list of the pieces, in the order of the aggregate. */
  pieces: string
  /** Link of the DAG-CBOR list of the record ids of the pieces. */
  members: string
  /** Link of the DAG-CBOR list of CIDs of the ranges, each a list of `RangeEntry`. */
  ranges: string
  sealedAt: number
}

/**
 * The pieces of a storefront and group. Always due: also an idle group is looked at now and then, because there are
 * few of them, and a piece may have come in at the very moment when the last one left.
 */
export interface GroupRecord extends Required<Due> {
  id: string
  storefront: DID
  group: string
  /** How many aggregates were sealed. */
  sequence: number
  /** Aggregates whose pieces are not all told yet; their pieces may still be in the list. */
  openSeals: Seal[]
}

/** Counters of what is pending in a group: a hint, corrected whenever the list is counted. */
export interface TallyRecord {
  id: string
  pieces: number
  bytes: number
}

export const newGroup = (
  { storefront, group }: Pick<GroupRecord, 'storefront' | 'group'>,
  checkAt: number,
): GroupRecord => {
  const id = groupId({ storefront, group })
  return { id, storefront, group, sequence: 0, openSeals: [], ...dueAt(id, checkAt) }
}

/** The decision that these pieces are in that aggregate. */
export const addSeal = (group: Stored<GroupRecord>, seal: Seal, checkAt: number): Stored<GroupRecord> => ({
  ...group,
  sequence: seal.sequence,
  openSeals: [...group.openSeals, seal],
  ...dueAt(group.id, checkAt),
})

/** Forgets aggregates whose pieces have all been told. */
export const closeSeals = (group: Stored<GroupRecord>, done: ReadonlySet<number>): Stored<GroupRecord> => ({
  ...group,
  openSeals: group.openSeals.filter(({ sequence }) => !done.has(sequence)),
})

export const scheduleCheck = (group: Stored<GroupRecord>, checkAt: number): Stored<GroupRecord> => ({
  ...group,
  ...dueAt(group.id, checkAt),
})
