import { sweep } from '@w3filecoin/service'
import type { Dependencies } from './dependencies.ts'
import { aggregateFinished } from './domain/aggregate.ts'
import { nextCheck, type PieceRecord } from './domain/piece.ts'

type Parts = Pick<Dependencies, 'stores' | 'queues' | 'timing' | 'now'>

/** Looks at every record whose time has come, and gets it moving again. */
export const sweepStorefront = (parts: Parts) => async (): Promise<void> => {
  const { stores, queues, timing, now } = parts
  await sweep({
    table: stores.pieces,
    now,
    interval: record => nextCheck(record, now(), timing),
    resend: async records => {
      const ids = (...stages: PieceRecord['stage'][]) =>
        records.filter(({ stage }) => stages.includes(stage)).map(({ id }) => ({ id }))
      await queues.submit.send(ids('offered'))
      await queues.pieceOffer.send(ids('submitted', 'queued', 'retried'))
      await queues.accept.send(
        records
          .filter(({ stage }) => stage === 'aggregated')
          .map(({ id, aggregateId }) => ({ aggregate: aggregateId as string, pieces: [id] })),
      )
    },
  })
  await sweep({
    table: stores.aggregates,
    now,
    interval: () => timing.poll,
    resend: async records => {
      await queues.accept.send(records.map(({ id }) => ({ aggregate: id })))
      // Those whose pieces were just looked for once more are finished.
      for (const record of records)
        if (record.stage !== 'offered') await stores.aggregates.replace(aggregateFinished(record))
    },
  })
}
