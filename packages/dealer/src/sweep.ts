import { sendAll, sweep } from '@w3filecoin/runtime'
import type { Dependencies } from './dependencies.ts'
import { nextCheckMs } from './domain/aggregate.ts'
import { unfinished } from './unfinished.ts'

/** Has the deal tracker asked about every aggregate whose time has come, and retries sent that were not. */
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
