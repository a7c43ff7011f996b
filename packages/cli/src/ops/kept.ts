import type { Bound } from '@w3filecoin/aws'
import { ALL_SHARDS, DUE, formatted, type Keeper, type Row } from '@w3filecoin/runtime'
import type { Resources } from '@w3filecoin/runtime/resources'
import pMap from 'p-map'
import type { AnyRecord, Service } from './services.ts'

type Aws = Pick<Bound<Resources>, 'table'>

/** A partition of an index. */
export interface Partition {
  index: string
  partition: string
}

/** Records that are found and read at a time: DynamoDB returns 100 in one call. */
export const PAGE_RECORDS = 100
const MAX_PARALLEL = 8

/**
 * Finds the partitions that have the records of a table which keepers cover: see `Unfinished.keeps`.
 *
 * @param most the most keepers that are read; `more` says whether there are others
 */
export const findKept = async (
  { resources, tables, unfinished }: Service,
  table: string,
  aws: Aws,
  most = Infinity,
): Promise<{ partitions: Partition[]; more: boolean }> => {
  const partitions: Partition[] = []
  let more = false
  for (const [name, { keeps, isUnfinished }] of Object.entries(unfinished)) {
    if (keeps?.table !== table || !resources.tables[name]?.indexes?.[DUE]) continue
    const keepers = formatted<AnyRecord>(aws.table(name), tables[name]!)
    let read = 0
    const readShard = async (shard: string): Promise<void> => {
      let after: string | undefined
      do {
        const page = await keepers.find(DUE, shard, { limit: PAGE_RECORDS, after })
        const chosen = page.items.slice(0, most - read)
        more ||= chosen.length < page.items.length
        read += chosen.length
        for (const record of await keepers.getMany(chosen))
          if (record && isUnfinished(record))
            partitions.push(...keeps.partitions(record).map(partition => ({ index: keeps.index, partition })))
        after = page.next
      } while (after !== undefined && !more)
    }
    await pMap(ALL_SHARDS, readShard, { concurrency: MAX_PARALLEL })
  }
  return { partitions, more }
}

/** Returns a function that finds the next checks of keepers. It reads each keeper once. */
export const checksOfKeepers = (
  aws: Aws,
): ((keepers: readonly Keeper[]) => Promise<(keeper: Keeper) => number | undefined>) => {
  const checks = new Map<string, number | undefined>()
  const keyOf = ({ table, id }: Keeper) => `${table} ${id}`
  return async keepers => {
    const unread = keepers.filter(keeper => !checks.has(keyOf(keeper)))
    for (const [table, some] of Map.groupBy(unread, ({ table }) => table)) {
      const ids = [...new Set(some.map(({ id }) => id))]
      const rows = await aws.table<Row & { id: string }>(table).getMany(ids.map(id => ({ id })))
      for (const [n, id] of ids.entries()) checks.set(keyOf({ table, id }), checkAtOf(rows[n]))
    }
    return keeper => checks.get(keyOf(keeper))
  }
}

/** The time of the next check of a row in the index that sweeps read; `undefined` if it is not in the index. */
const checkAtOf = ({ due, checkAt }: Row = {}): number | undefined =>
  due !== undefined && typeof checkAt === 'number' ? checkAt : undefined
