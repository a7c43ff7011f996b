import { LONGEST_CHECK_MS, sendAll, sweep, sweepAll, sweepTranslations } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from './dependencies.ts'
import {
  type AggregateRecord,
  isFinal,
  markChecked,
  nextCheckMs as nextAggregateCheckMs,
} from './domain/aggregate.ts'
import { nextPollMs } from './domain/group.ts'
import { nextListenerCheckMs } from './domain/listener.ts'
import { allShards, memberShard } from './domain/member-shards.ts'
import { EARLIER_CHECK_MS, keeperOf, nextCheckMs } from './domain/piece.ts'
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
  const { retryMs, pollMs } = timing
  const own = Math.max(LONGEST_CHECK_MS, retryMs)
  const sweeps = [
    sweep({
      kind: 'piece',
      table: stores.piece,
      intervalMs: record => nextCheckMs(record, now(), timing),
      longestMs: { own, waiting: Math.max(pollMs, EARLIER_CHECK_MS) },
      isWaiting: unfinished.piece.isWaiting,
      isKept: record => keeperOf(record) !== undefined,
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
        const final = records.filter(isFinal)
        const found = await pMap(final, record => hasMembers(stores, record), { concurrency: 4 })
        const open = [...records.filter(record => !isFinal(record)), ...final.filter((_, n) => found[n])]
        await sendAll(queues, unfinished.aggregate.messages(open))
        for (const [n, record] of final.entries()) {
          const checked = markChecked(record, { hasPieces: found[n] as boolean }, now(), timing)
          if (checked) await stores.aggregate.replace(checked)
        }
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
