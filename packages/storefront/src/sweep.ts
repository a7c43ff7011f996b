import { sendAll, sweep, sweepAll } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from './dependencies.ts'
import { type AggregateRecord, markFinished } from './domain/aggregate.ts'
import { nextCheckMs } from './domain/piece.ts'
import { allShards } from './receipts.ts'
import { unfinished } from './unfinished.ts'

type Parts = Pick<Dependencies, 'stores' | 'queues' | 'timing' | 'now'>

/**
 * Looks at every record whose time has come, and gets it moving again. A table that can not be swept keeps no other one
 * from it.
 */
export const sweepStorefront = (parts: Parts) => async (): Promise<void> => {
  const { stores, queues, timing, now } = parts
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
        const left = await pMap(records, record => record.stage === 'offered' || hasMembers(stores, record), {
          concurrency: 4,
        })
        await sendAll(queues, unfinished.aggregate.messages(records.filter((_, n) => left[n])))
        for (const [n, record] of records.entries())
          if (!left[n]) await stores.aggregate.replace(markFinished(record))
      },
    }),
  ])
}

/** Whether there are pieces that have not heard of the aggregate's outcome. */
const hasMembers = async ({ piece }: Parts['stores'], { id }: AggregateRecord): Promise<boolean> => {
  for (const { shard } of allShards(id))
    if ((await piece.find('memberOf', `${id}#${shard}`, { limit: 1 })).items.length > 0) return true
  return false
}
