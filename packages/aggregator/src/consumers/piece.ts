import { type Consumer, catchErrors, DONE, type Handled, type Stored, update } from '@w3filecoin/runtime'
import pMap from 'p-map'
import { canBecome, groupId, markPending, type PieceRecord } from '../domain/piece.ts'
import { addToList, addToTally, type ListDependencies } from '../offers/list-pieces.ts'
import { type PieceMessage, pieceMessage } from '../queues.ts'

/**
 * On `piece`, add pieces that earlier code recorded as `offered` to the lists of their groups. The rows are written before the
 * pieces are marked: an interrupted run is repeated, and writes the same rows again.
 */
export const onPiece = (dependencies: ListDependencies): Consumer<PieceMessage> => {
  const { stores } = dependencies
  /** Adds pieces of one group to its list. */
  const enlist = async (records: Stored<PieceRecord>[]): Promise<void> => {
    const known = await addToList(dependencies, records)
    const marked = await pMap(
      records,
      record => update(stores.piece, { id: record.id }, markPending, { known: record }),
      { concurrency: 10 },
    )
    const added = records.filter((_, n) => marked[n]?.changed)
    await addToTally(dependencies, added, known)
  }

  return {
    decode: pieceMessage.decode,
    handle: async messages => {
      const records = await stores.piece.getMany(messages.map(({ id }) => ({ id })))
      const groups = new Map<string, Map<string, Stored<PieceRecord>>>()
      for (const record of records)
        if (record && canBecome(record, 'pending')) {
          const id = groupId(record)
          groups.set(id, (groups.get(id) ?? new Map()).set(record.id, record))
        }
      const outcomes = new Map<string, Handled>()
      for (const [id, members] of groups)
        outcomes.set(
          id,
          await catchErrors(async () => {
            await enlist([...members.values()])
            return DONE
          }),
        )
      return records.map(record => (record && outcomes.get(groupId(record))) ?? DONE)
    },
  }
}
