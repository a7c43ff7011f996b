import { sendAll, sweep, sweepAll, sweepTranslations } from '@w3filecoin/runtime'
import type { Dependencies } from './dependencies.ts'
import { longestCheckMs, nextCheckMs } from './domain/aggregate.ts'
import { resources } from './resources.ts'
import { unfinished } from './unfinished.ts'

/** Sends the messages of all overdue records again. If one table cannot be swept, the other tables still are. */
export const sweepAggregator = ({
  stores,
  queues,
  timing,
  now,
}: Pick<Dependencies, 'stores' | 'queues' | 'timing' | 'now'>): (() => Promise<void>) => {
  const { retryMs, pollMs } = timing
  const longest = (milliseconds: number) => ({ own: milliseconds, waiting: milliseconds })
  const sweeps = [
    sweep({
      table: stores.piece,
      intervalMs: () => retryMs,
      longestMs: longest(retryMs),
      resend: records => sendAll(queues, unfinished.piece.messages(records)),
    }),
    sweep({
      table: stores.group,
      intervalMs: () => retryMs,
      longestMs: longest(Math.max(retryMs, pollMs)),
      resend: records => sendAll(queues, unfinished.group.messages(records)),
    }),
    sweep({
      table: stores.aggregate,
      intervalMs: record => nextCheckMs(record, now(), timing),
      longestMs: longest(longestCheckMs(timing)),
      isWaiting: unfinished.aggregate.isWaiting,
      resend: records => sendAll(queues, unfinished.aggregate.messages(records)),
    }),
    sweepTranslations({ table: stores.translation, queue: queues.translate, retryMs, now }),
  ]
  return async () => {
    await sweepAll(sweeps, { now, timeoutSeconds: resources.schedules.sweep.run.timeout })
  }
}
