import { sendAll, sweep, sweepAll } from '@w3filecoin/runtime'
import type { Dependencies } from './dependencies.ts'
import { nextCheckMs } from './domain/aggregate.ts'
import { unfinished } from './unfinished.ts'

type Parts = Pick<Dependencies, 'stores' | 'queues' | 'timing' | 'now'>

/**
 * Looks at every record whose time has come, and gets it moving again. A table that can not be swept keeps no other one
 * from it.
 */
export const sweepAggregator = (parts: Parts) => async (): Promise<void> => {
  const { stores, queues, timing, now } = parts
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
