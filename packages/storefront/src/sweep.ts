import { isDelegation } from '@ucanto/core/delegation'
import type { Invocation } from '@ucanto/interface'
import { principal, type Stored, sweep } from '@w3filecoin/service'
import pMap from 'p-map'
import type { Dependencies } from './dependencies.ts'
import { type AggregateRecord, aggregateFinished } from './domain/aggregate.ts'
import { nextCheck, type PieceRecord } from './domain/piece.ts'
import { allShards, takeAggregateAccept } from './receipts.ts'

type Parts = Pick<
  Dependencies,
  'id' | 'stores' | 'queues' | 'aggregator' | 'dealer' | 'timing' | 'now' | 'log'
>

/** Looks at every record whose time has come, and gets it moving again. */
export const sweepStorefront = (parts: Parts) => async (): Promise<void> => {
  const { stores, queues, timing, now } = parts
  await sweep({
    table: stores.pieces,
    now,
    interval: record => nextCheck(record, timing),
    resend: async records => {
      const ids = (...stages: PieceRecord['stage'][]) =>
        records.filter(({ stage }) => stages.includes(stage)).map(({ id }) => ({ id }))
      await queues.submit.send(ids('offered'))
      await queues.pieceOffer.send(ids('submitted', 'queued'))
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
      await pMap(records, record => follow(parts, record), { concurrency: 4 })
    },
  })
}

const follow = async (parts: Parts, record: Stored<AggregateRecord>): Promise<void> => {
  const { stores, queues, aggregator, dealer, log } = parts
  if (record.stage === 'accepted') {
    await queues.accept.send(allShards(record.id))
    await stores.aggregates.replace(aggregateFinished(record))
    return
  }
  try {
    // The aggregator keeps the dealer's receipts.
    const offer = await aggregator.receipt(record.aggregateOffer, principal(dealer))
    const accept = offer?.fx.join && (await aggregator.receipt(`${offer.fx.join.link()}`, principal(dealer)))
    if (accept && isDelegation(accept.ran as never))
      await takeAggregateAccept(parts, accept, accept.ran as Invocation)
  } catch (cause) {
    log('warn', 'aggregate not followed', { aggregate: record.aggregate, cause })
  }
}
