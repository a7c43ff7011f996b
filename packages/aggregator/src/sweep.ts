import { sweep } from '@w3filecoin/service'
import type { Dependencies } from './dependencies.ts'
import { nextCheck } from './domain/aggregate.ts'

type Parts = Pick<Dependencies, 'stores' | 'queues' | 'timing' | 'now'>

/** Looks at every record whose time has come, and gets it moving again. */
export const sweepAggregator = (parts: Parts) => async (): Promise<void> => {
  const { stores, queues, timing, now } = parts
  await sweep({
    table: stores.pieces,
    now,
    interval: () => timing.retry,
    resend: records => queues.piece.send(records.map(({ id }) => ({ id }))),
  })
  await sweep({
    table: stores.groups,
    now,
    interval: () => timing.retry,
    resend: records =>
      queues.seal.send(records.map(({ id, revision }) => ({ group: id, id: `due-${revision}` }))),
  })
  await sweep({
    table: stores.aggregates,
    now,
    interval: record => nextCheck(record, timing),
    resend: async records => {
      await queues.aggregateOffer.send(
        records
          .filter(({ stage }) => stage === 'sealed' || stage === 'offered')
          .map(({ id }) => ({ aggregate: id })),
      )
      await queues.include.send(
        records.flatMap(({ id, openRanges }) => openRanges.map(range => ({ aggregate: id, range }))),
      )
    },
  })
}
