import { LONGEST_CHECK_MS, sendAll, sweep, sweepAll, sweepTranslations } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from './dependencies.ts'
import {
  type AggregateRecord,
  isFinal,
  markFinished,
  nextCheckMs as nextAggregateCheckMs,
} from './domain/aggregate.ts'
import { nextPollMs } from './domain/group.ts'
import { nextListenerCheckMs } from './domain/listener.ts'
import { allShards, memberShard } from './domain/member-shards.ts'
import { nextCheckMs } from './domain/piece.ts'
import { resources } from './resources.ts'
import { unfinished } from './unfinished.ts'

/** Sends the messages of overdue records again, table by table. A table that fails does not keep the sweep from the others. */
export const sweepStorefront = ({
  stores,
  queues,
  timing,
  now,
  metrics,
}: Pick<Dependencies, 'stores' | 'queues' | 'timing' | 'now' | 'metrics'>): (() => Promise<void>) => {
  const { retryMs, pollMs, safetyCheckMs } = timing
  const own = Math.max(LONGEST_CHECK_MS, retryMs)
  const sweeps = [
    sweep({
      kind: 'piece',
      table: stores.piece,
      intervalMs: record => nextCheckMs(record, now(), timing),
      longestMs: { own, waiting: Math.max(pollMs, safetyCheckMs) },
      isWaiting: unfinished.piece.isWaiting,
      resend: records => sendAll(queues, unfinished.piece.messages(records)),
    }),
    sweep({
      kind: 'group',
      table: stores.group,
      intervalMs: record => nextPollMs(record, now(), timing),
      longestMs: { own: Math.max(own, pollMs), waiting: Math.max(own, pollMs) },
      resend: records => sendAll(queues, unfinished.group.messages(records)),
    }),
    sweep({
      kind: 'aggregate',
      table: stores.aggregate,
      intervalMs: record => nextAggregateCheckMs(record, now(), timing),
      longestMs: { own: Math.max(own, pollMs), waiting: Math.max(own, pollMs) },
      isWaiting: unfinished.aggregate.isWaiting,
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
      // A piece may be added long after the outcome.
      ageOf: record =>
        isFinal(record) || record.entered?.at === undefined
          ? undefined
          : { record: 'aggregate', stage: record.stage, since: record.entered.at },
    }),
    sweep({
      kind: 'listener',
      table: stores.listener,
      intervalMs: record => nextListenerCheckMs(record, now(), retryMs),
      longestMs: { own, waiting: own },
      isWaiting: unfinished.listener.isWaiting,
      resend: records => sendAll(queues, unfinished.listener.messages(records)),
    }),
    sweepTranslations({ table: stores.translation, queue: queues.translate, retryMs, now }),
  ]
  return async () => {
    await sweepAll(sweeps, { now, metrics, timeoutSeconds: resources.schedules.sweep.run.timeout })
  }
}

/** Whether the aggregate has pieces that are not settled yet. */
const hasMembers = async ({ piece }: Dependencies['stores'], { id }: AggregateRecord): Promise<boolean> => {
  for (const { shard } of allShards(id))
    if ((await piece.find('memberOf', memberShard(id, shard), { limit: 1 })).items.length > 0) return true
  return false
}
