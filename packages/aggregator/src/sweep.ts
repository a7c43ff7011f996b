import { sendAll, sweep, sweepAll } from '@w3filecoin/runtime'
import type { Dependencies } from './dependencies.ts'
import { nextCheckMs } from './domain/aggregate.ts'
import { unfinished } from './unfinished.ts'

/** Sends the messages of all overdue records again. If one table cannot be swept, the other tables still are. */
export const sweepAggregator =
  ({ stores, queues, timing, now }: Pick<Dependencies, 'stores' | 'queues' | 'timing' | 'now'>) =>
  async (): Promise<void> => {
    await sweepAll([
      sweep({
        table: stores.piece,
        now,
        intervalMs: () => timing.retryMs,
        resend: records => sendAll(queues, unfinished.piece.messages(records)),
      }),
      sweep({
        table: stores.group,
        now,
        intervalMs: () => timing.retryMs,
        resend: records => sendAll(queues, unfinished.group.messages(records)),
      }),
      sweep({
        table: stores.aggregate,
        now,
        intervalMs: record => nextCheckMs(record, now(), timing),
        resend: records => sendAll(queues, unfinished.aggregate.messages(records)),
      }),
    ])
  }
