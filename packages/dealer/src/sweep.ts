import { batchesOf, sweep } from '@w3filecoin/service'
import type { Dependencies } from './dependencies.ts'
import { nextCheck } from './domain/aggregate.ts'
import { TRACK_BATCH } from './queues.ts'

/** Has the deal tracker asked about every aggregate whose time has come, and retries sent that were not. */
export const sweepDealer =
  ({ stores, queues, timing, now }: Pick<Dependencies, 'stores' | 'queues' | 'timing' | 'now'>) =>
  async (): Promise<void> => {
    await sweep({
      table: stores.aggregates,
      now,
      interval: record => nextCheck(record, timing),
      resend: async records => {
        const ids = records.filter(({ stage }) => stage === 'offered').map(({ id }) => id)
        await queues.track.send(batchesOf(ids, TRACK_BATCH).map(aggregates => ({ aggregates })))
        await queues.retry.send(
          records.flatMap(({ id, openRanges = [] }) => openRanges.map(range => ({ aggregate: id, range }))),
        )
      },
    })
  }
