import { type Consumer, catchErrors, DONE, type Handled, type Stored, update } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import { newGroup } from '../domain/group.ts'
import { isFull } from '../domain/limits.ts'
import { groupId, markPending, type PieceRecord, pendingRow } from '../domain/piece.ts'
import { type PieceMessage, pieceMessage } from '../queues.ts'

/**
 * On `piece`, put offered pieces into the lists of their groups, and have a group sealed when there is enough in
 * it. The list comes before the mark on the piece: cut short, the piece is put there once more, to the same place.
 */
export const onPiece = ({
  stores,
  queues,
  limitsOf,
  now,
}: Pick<Dependencies, 'stores' | 'queues' | 'limitsOf' | 'now'>): Consumer<PieceMessage> => {
  const enlist = async (records: Stored<PieceRecord>[]): Promise<void> => {
    const [{ storefront, group }] = records as [Stored<PieceRecord>]
    const id = groupId({ storefront, group })
    const limits = limitsOf(group)
    await stores.pending.putMany(records.map(pendingRow))
    const known = await stores.group.get({ id })
    if (!known) await stores.group.insert(newGroup({ storefront, group }, now() + limits.maxWaitMs))
    const marked = await pMap(records, record => update(stores.piece, { id: record.id }, markPending), {
      concurrency: 10,
    })
    const added = records.filter((_, n) => marked[n]?.changed)
    const tally = await stores.tally.add(
      { id },
      { pieces: added.length, bytes: added.reduce((sum, { size }) => sum + size, 0) },
    )
    if (isFull(tally, limits))
      await queues.seal.send([{ group: id, id: `full-${(known?.sequence ?? 0) + 1}` }])
  }

  return {
    decode: pieceMessage.decode,
    handle: async messages => {
      const records = await stores.piece.getMany(messages.map(({ id }) => ({ id })))
      const groups = new Map<string, Map<string, Stored<PieceRecord>>>()
      for (const record of records)
        if (record?.stage === 'offered') {
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
