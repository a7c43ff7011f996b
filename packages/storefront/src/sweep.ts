import { sendAll, sweep, sweepAll } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from './dependencies.ts'
import { type AggregateRecord, isFinal, markFinished } from './domain/aggregate.ts'
import { allShards, memberShard } from './domain/member-shards.ts'
import { nextCheckMs } from './domain/piece.ts'
import { unfinished } from './unfinished.ts'

/** Sends the messages of overdue records again, table by table. A table that fails does not keep the sweep from the others. */
export const sweepStorefront =
  ({ stores, queues, timing, now }: Pick<Dependencies, 'stores' | 'queues' | 'timing' | 'now'>) =>
  async (): Promise<void> => {
    await sweepAll([
      sweep({
        table: stores.piece,
        now,
        intervalMs: record => nextCheckMs(record, now(), timing),
        resend: records => sendAll(queues, unfinished.piece.messages(records)),
      }),
      sweep({
        table: stores.aggregate,
        now,
        intervalMs: () => timing.pollMs,
        resend: async records => {
          const isOpen = await pMap(
            records,
            async record => !isFinal(record) || (await hasMembers(stores, record)),
            { concurrency: 4 },
          )
          await sendAll(queues, unfinished.aggregate.messages(records.filter((_, n) => isOpen[n])))
          for (const [n, record] of records.entries())
            if (!isOpen[n]) await stores.aggregate.replace(markFinished(record))
        },
      }),
    ])
  }

/** Whether the aggregate has pieces that are not settled yet. */
const hasMembers = async ({ piece }: Dependencies['stores'], { id }: AggregateRecord): Promise<boolean> => {
  for (const { shard } of allShards(id))
    if ((await piece.find('memberOf', memberShard(id, shard), { limit: 1 })).items.length > 0) return true
  return false
}
