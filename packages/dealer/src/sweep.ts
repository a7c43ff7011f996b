import { sweep } from '@w3filecoin/service'
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
        await queues.track.send(
          Array.from({ length: Math.ceil(ids.length / TRACK_BATCH) }, (_, n) => ({
            aggregates: ids.slice(n * TRACK_BATCH, (n + 1) * TRACK_BATCH),
          })),
        )
      },
    })
  }
