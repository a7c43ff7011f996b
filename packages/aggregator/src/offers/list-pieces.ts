import { inBatchesOfMessage, type Stored, update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { type GroupRecord, newGroup, wake } from '../domain/group.ts'
import { isFull } from '../domain/limits.ts'
import { groupId, newPendingRow, type PieceRecord } from '../domain/piece.ts'

export type ListDependencies = Pick<Dependencies, 'stores' | 'queues' | 'limitsOf' | 'timing' | 'now'>

/**
 * Adds pieces of one group to its list, and wakes the group if it is idle, or creates it. It may run twice. The records of the
 * pieces must exist: the sealer removes a row without one. The group is read after the rows are written: see `recordCount`.
 *
 * @returns the record of the group as it was before; `undefined` if there was none
 */
export const addToList = async (
  { stores, limitsOf, timing, now }: ListDependencies,
  pieces: readonly PieceRecord[],
): Promise<Stored<GroupRecord> | undefined> => {
  const [{ storefront, group }] = pieces as [PieceRecord]
  const id = groupId({ storefront, group })
  await stores.pending.putMany(pieces.map(newPendingRow))
  const known = await stores.group.get({ id })
  const checkAt = now() + Math.min(limitsOf(group).maxWaitMs, timing.pollMs)
  if (!known) await stores.group.insert(newGroup({ storefront, group }, checkAt))
  else if (known.idleSince !== undefined)
    await update(stores.group, { id }, current => wake(current, checkAt), { known })
  return known
}

/**
 * Counts pieces that are new in the list of their group, and requests a seal if the group is full. The count is a hint: a piece
 * that is not counted because a run ended is sealed when its group is checked.
 *
 * @param known the record of the group: see {@link addToList}
 */
export const addToTally = async (
  { stores, queues, limitsOf }: Pick<ListDependencies, 'stores' | 'queues' | 'limitsOf'>,
  pieces: readonly PieceRecord[],
  known: GroupRecord | undefined,
): Promise<void> => {
  const [first] = pieces
  if (first === undefined) return
  const id = groupId(first)
  const bytes = pieces.reduce((sum, { size }) => sum + size, 0)
  const tally = await stores.tally.add({ id }, { pieces: pieces.length, bytes })
  if (isFull(tally, limitsOf(first.group)))
    await queues.seal.send([{ group: id, id: `full-${(known?.sequence ?? 0) + 1}` }])
}

/** A piece that was offered, and whether this run inserted its record. */
interface Offered {
  record: Stored<PieceRecord>
  isNew: boolean
}

/** Adds an offered piece to the list of its group. `message` is the same object for all offers of one message. */
export type ListPiece = (message: object, piece: Offered) => Promise<void>

/**
 * Returns a function that adds pieces to the lists of their groups. The pieces of one message and group are added together: a
 * message usually has 50 of them, and the group is then read, and its count written, a few times for all of them.
 */
export const listByMessage = (dependencies: ListDependencies): ListPiece => {
  const list = inBatchesOfMessage(async (pieces: readonly Offered[]) => {
    // By key: a message may offer a piece twice, and DynamoDB refuses a batch that writes a row twice.
    const records = new Map(pieces.map(({ record }) => [record.id, record]))
    const known = await addToList(dependencies, [...records.values()])
    const added = pieces.filter(({ isNew }) => isNew).map(({ record }) => record)
    await addToTally(dependencies, added, known)
  })
  return (message, piece) => list(message, groupId(piece.record), piece)
}
