import { LONGEST_CHECK_MS, sendAll, sweep, sweepAll, sweepTranslations } from '@w3filecoin/runtime'
import type { Dependencies } from './dependencies.ts'
import { nextCheckMs } from './domain/aggregate.ts'
import { LIVE_CHECK_MS, nextCheckMs as nextOrderCheckMs } from './domain/order.ts'
import { nextFillMs, READY_CHECK_MS } from './domain/whole.ts'
import { resources } from './resources.ts'
import { unfinished } from './unfinished.ts'

/** Sends the messages of all overdue aggregates, orders and wholes again: those that ask the deal tracker, and unsent retries. */
export const sweepDealer = ({
  stores,
  queues,
  timing,
  now,
  metrics,
}: Pick<Dependencies, 'stores' | 'queues' | 'timing' | 'now' | 'metrics'>): (() => Promise<void>) => {
  const longestMs = Math.max(LONGEST_CHECK_MS, timing.retryMs, timing.pollMs)
  const sweeps = [
    sweep({
      kind: 'aggregate',
      table: stores.aggregate,
      intervalMs: record => nextCheckMs(record, now(), timing),
      longestMs: { own: longestMs, waiting: longestMs },
      isWaiting: unfinished.aggregate.isWaiting,
      resend: records => sendAll(queues, unfinished.aggregate.messages(records)),
    }),
    sweep({
      kind: 'order',
      table: stores.order,
      intervalMs: record => nextOrderCheckMs(record, now(), timing),
      longestMs: { own: longestMs, waiting: LIVE_CHECK_MS },
      isWaiting: unfinished.order.isWaiting,
      resend: records => sendAll(queues, unfinished.order.messages(records)),
    }),
    sweep({
      kind: 'whole',
      table: stores.whole,
      intervalMs: record => nextFillMs(record, now(), timing.retryMs),
      longestMs: { own: longestMs, waiting: READY_CHECK_MS },
      isWaiting: unfinished.whole.isWaiting,
      resend: records => sendAll(queues, unfinished.whole.messages(records)),
    }),
    sweepTranslations({ table: stores.translation, queue: queues.translate, retryMs: timing.retryMs, now }),
  ]
  return async () => {
    await sweepAll(sweeps, { now, metrics, timeoutSeconds: resources.schedules.sweep.run.timeout })
  }
}
