import { sendAll, sweep, sweepAll, sweepTranslations } from '@w3filecoin/runtime'
import type { Dependencies } from './dependencies.ts'
import { longestCheckMs, nextCheckMs } from './domain/aggregate.ts'
import { isBelowMinimum } from './domain/group.ts'
import { resources } from './resources.ts'
import { unfinished } from './unfinished.ts'

/** Sends the messages of all overdue records again. If one table cannot be swept, the other tables still are. */
export const sweepAggregator = ({
  stores,
  queues,
  limitsOf,
  timing,
  now,
  metrics,
}: Pick<
  Dependencies,
  'stores' | 'queues' | 'limitsOf' | 'timing' | 'now' | 'metrics'
>): (() => Promise<void>) => {
  const { retryMs, pollMs } = timing
  const longest = (milliseconds: number) => ({ own: milliseconds, waiting: milliseconds })
  const sweeps = [
    sweep({
      kind: 'piece',
      table: stores.piece,
      intervalMs: () => retryMs,
      longestMs: longest(retryMs),
      resend: records => sendAll(queues, unfinished.piece.messages(records)),
    }),
    sweep({
      kind: 'group',
      table: stores.group,
      intervalMs: () => retryMs,
      longestMs: longest(Math.max(retryMs, pollMs)),
      resend: async records => {
        await sendAll(queues, unfinished.group.messages(records))
        const below = records.filter(record => isBelowMinimum(record, limitsOf(record.group)))
        metrics({ GroupsBelowMinimum: below.length })
      },
      // The sweep does not read pending pieces: the sealer counted them.
      ageOf: ({ count }) =>
        count?.oldestAt === undefined
          ? undefined
          : { record: 'piece', stage: 'pending', since: count.oldestAt },
    }),
    sweep({
      kind: 'aggregate',
      table: stores.aggregate,
      intervalMs: record => nextCheckMs(record, now(), timing),
      longestMs: longest(longestCheckMs(timing)),
      isWaiting: unfinished.aggregate.isWaiting,
      resend: records => sendAll(queues, unfinished.aggregate.messages(records)),
    }),
    sweepTranslations({ table: stores.translation, queue: queues.translate, retryMs, now }),
  ]
  return async () => {
    await sweepAll(sweeps, { now, metrics, timeoutSeconds: resources.schedules.sweep.run.timeout })
  }
}
