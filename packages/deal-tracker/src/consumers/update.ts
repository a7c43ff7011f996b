import { type Consumer, DONE, each, getValue, type Row, update } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import { type DealRecord, mergeChange, upgradeDeal } from '../domain/deal.ts'
import { closeRange, isOpen } from '../domain/source.ts'
import { type UpdateMessage, updateMessage } from '../queues.ts'

/** The greatest number of deals of a range that are written in parallel. */
const MAX_PARALLEL_WRITES = 25

/**
 * On `update`, write one range of the deals that a run of a source changed, then mark the range as written. Each write is
 * conditional: a late write does not undo the write of a later run.
 */
export const onUpdate = ({ stores }: Pick<Dependencies, 'stores'>): Consumer<UpdateMessage> => {
  const write = async (change: DealRecord): Promise<void> => {
    const inserted = await stores.deal.insert(change)
    if (inserted.ok || mergeChange(inserted.error.record, change) === undefined) return
    await update(stores.deal, { piece: change.piece, deal: change.deal }, record =>
      mergeChange(record, change),
    )
  }

  return each(
    updateMessage,
    async ({ source: name, changes, range }) => {
      const source = await stores.source.get({ name })
      if (source === undefined || !isOpen(source, { changes, range })) return DONE
      const ranges = await getValue<string[]>(stores.blocks, changes)
      const rows = await getValue<Row[]>(stores.blocks, ranges[range] as string)
      // Earlier code may have written the block.
      const records = rows.map(row => upgradeDeal(row) as unknown as DealRecord)
      await pMap(records, write, { concurrency: MAX_PARALLEL_WRITES })
      await update(stores.source, { name }, current => closeRange(current, { changes, range }))
      return DONE
    },
    { concurrency: 1 },
  )
}
