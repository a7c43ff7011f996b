import { type Consumer, catchErrors, DONE, type Handled, type Stored, update } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import { newGroup, wake } from '../domain/group.ts'
import { isFull } from '../domain/limits.ts'
import { canBecome, groupId, markPending, newPendingRow, type PieceRecord } from '../domain/piece.ts'
import { type PieceMessage, pieceMessage } from '../queues.ts'

/**
 * On `piece`, add offered pieces to the lists of their groups, and request a seal of each group that is full. The rows
 * are written before the pieces are marked: an interrupted run is repeated, and writes the same rows again. A group that is
 * idle is woken in between, after the rows are written: see `recordCount`.
 */
export const onPiece = ({
  stores,
  queues,
  limitsOf,
  timing,
  now,
}: Pick<Dependencies, 'stores' | 'queues' | 'limitsOf' | 'timing' | 'now'>): Consumer<PieceMessage> => {
  /** Adds pieces of one group to its list. */
  const enlist = async (records: Stored<PieceRecord>[]): Promise<void> => {
    const [{ storefront, group }] = records as [Stored<PieceRecord>]
    const id = groupId({ storefront, group })
    const limits = limitsOf(group)
    await stores.pending.putMany(records.map(newPendingRow))
    const known = await stores.group.get({ id })
    const checkAt = now() + Math.min(limits.maxWaitMs, timing.pollMs)
    if (!known) await stores.group.insert(newGroup({ storefront, group }, checkAt))
    else if (known.idleSince !== undefined)
      await update(stores.group, { id }, current => wake(current, checkAt), { known })
    const marked = await pMap(
      records,
      record => update(stores.piece, { id: record.id }, markPending, { known: record }),
      { concurrency: 10 },
    )
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
