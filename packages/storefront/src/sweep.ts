import { sendAll, sweep } from '@w3filecoin/service'
import type { Dependencies } from './dependencies.ts'
import { aggregateFinished } from './domain/aggregate.ts'
import { nextCheck } from './domain/piece.ts'
import { unfinished } from './unfinished.ts'

type Parts = Pick<Dependencies, 'stores' | 'queues' | 'timing' | 'now'>

/** Looks at every record whose time has come, and gets it moving again. */
export const sweepStorefront = (parts: Parts) => async (): Promise<void> => {
  const { stores, queues, timing, now } = parts
  await sweep({
    table: stores.pieces,
    now,
    interval: record => nextCheck(record, now(), timing),
    resend: records => sendAll(queues, unfinished.piece.messages(records)),
  })
  await sweep({
    table: stores.aggregates,
    now,
    interval: () => timing.poll,
    resend: async records => {
      await sendAll(queues, unfinished.aggregate.messages(records))
      // Those whose pieces were just looked for once more are finished.
      for (const record of records)
        if (record.stage !== 'offered') await stores.aggregates.replace(aggregateFinished(record))
    },
  })
}
