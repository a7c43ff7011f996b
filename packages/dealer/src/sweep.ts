import { sendAll, sweep } from '@w3filecoin/runtime'
import type { Dependencies } from './dependencies.ts'
import { nextCheckMs } from './domain/aggregate.ts'
import { unfinished } from './unfinished.ts'

/** Sends the messages of all overdue aggregates again: those that ask the deal tracker, and unsent retries. */
export const sweepDealer =
  ({ stores, queues, timing, now }: Pick<Dependencies, 'stores' | 'queues' | 'timing' | 'now'>) =>
  async (): Promise<void> => {
    await sweep({
      table: stores.aggregate,
      now,
      intervalMs: record => nextCheckMs(record, now(), timing),
      resend: records => sendAll(queues, unfinished.aggregate.messages(records)),
    })
  }
