import { type FindProgress, listAll } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { progressOf } from '../domain/info.ts'
import { resources } from '../resources.ts'

/**
 * Finds the progress of `filecoin/submit` and `filecoin/accept` by the rows of their tasks. It reads two rows for each task, and
 * those of the storefront's checks once. It finds no tasks of dialects, and none of version 0.1.0, which wrote no such rows,
 * unless they were offered again since.
 */
export const findProgress =
  ({
    stores,
    dialects,
    timing,
    now,
  }: Pick<Dependencies, 'stores' | 'dialects' | 'timing' | 'now'>): FindProgress =>
  async tasks => {
    const rows = await stores.task.getMany(tasks.map(task => ({ task })))
    const ids = [...new Set(rows.flatMap(row => row?.id ?? []))]
    const [records, health] = await Promise.all([
      stores.piece.getMany(ids.map(id => ({ id }))),
      ids.length === 0 ? [] : listAll(stores.health, resources.service),
    ])
    const found = new Map(records.map(record => [record?.id, record]))
    return rows.map(row => {
      const record = row && found.get(row.id)
      // A row without a record is that of an offer which was not completed.
      if (record) return progressOf(record, row, { timing, health, now: now() })
      return dialects.length === 0 ? undefined : 'unknown'
    })
  }
