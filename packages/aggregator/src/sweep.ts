import { sendAll, sweep } from '@w3filecoin/service'
import type { Dependencies } from './dependencies.ts'
import { nextCheck } from './domain/aggregate.ts'
import { unfinished } from './unfinished.ts'

type Parts = Pick<Dependencies, 'stores' | 'queues' | 'timing' | 'now'>

/**
 * Looks at every record whose time has come, and gets it moving again. A table that can not be swept keeps no other one
 * from it.
 */
export const sweepAggregator = (parts: Parts) => async (): Promise<void> => {
  const { stores, queues, timing, now } = parts
  const swept = await Promise.allSettled([
    sweep({
      table: stores.pieces,
      now,
      interval: () => timing.retry,
      resend: records => sendAll(queues, unfinished.piece.messages(records)),
    }),
    sweep({
      table: stores.groups,
      now,
      interval: () => timing.retry,
      resend: records => sendAll(queues, unfinished.group.messages(records)),
    }),
    sweep({
      table: stores.aggregates,
      now,
      interval: record => nextCheck(record, now(), timing),
      resend: records => sendAll(queues, unfinished.aggregate.messages(records)),
    }),
  ])
  const failures = swept.filter(outcome => outcome.status === 'rejected').map(({ reason }) => reason)
  // The log tells of one cause, so the message names all.
  if (failures.length > 0) throw new AggregateError(failures, failures.join('; '), { cause: failures[0] })
}
