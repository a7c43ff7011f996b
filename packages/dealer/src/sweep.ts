import { batchesOf, sweep } from '@w3filecoin/service'
import type { Dependencies } from './dependencies.ts'
import { TRACK_BATCH } from './queues.ts'

/** Has the deal tracker asked about every aggregate whose time has come. */
export const sweepDealer =
  ({ stores, queues, timing, now }: Pick<Dependencies, 'stores' | 'queues' | 'timing' | 'now'>) =>
  async (): Promise<void> => {
    await sweep({
      table: stores.aggregates,
      now,
      interval: () => timing.poll,
      resend: async records => {
        const ids = records.map(({ id }) => id)
        await queues.track.send(batchesOf(ids, TRACK_BATCH).map(aggregates => ({ aggregates })))
      },
    })
  }
