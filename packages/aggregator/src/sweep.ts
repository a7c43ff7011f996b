import { isDelegation } from '@ucanto/core/delegation'
import type { Invocation } from '@ucanto/interface'
import { type Stored, sweep } from '@w3filecoin/service'
import pMap from 'p-map'
import type { Dependencies } from './dependencies.ts'
import { type AggregateRecord, nextCheck } from './domain/aggregate.ts'
import { takeAggregateAccept } from './receipts.ts'

type Parts = Pick<Dependencies, 'stores' | 'queues' | 'dealer' | 'timing' | 'now' | 'log'>

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
        records.filter(({ stage }) => stage === 'sealed').map(({ id }) => ({ aggregate: id })),
      )
      await queues.include.send(
        records.flatMap(({ id, openRanges }) => openRanges.map(range => ({ aggregate: id, range }))),
      )
      await pMap(
        records.filter(({ stage }) => stage === 'offered'),
        record => follow(parts, record),
        { concurrency: 4 },
      )
    },
  })
}

/** Fetches the dealer's word on an aggregate, should it not have arrived. */
const follow = async (parts: Parts, { accept, aggregate }: Stored<AggregateRecord>): Promise<void> => {
  try {
    const receipt = await parts.dealer.receipt(accept as string)
    if (receipt && isDelegation(receipt.ran as never))
      await takeAggregateAccept(parts, receipt, receipt.ran as Invocation)
  } catch (cause) {
    parts.log('warn', 'aggregate not followed', { aggregate, cause })
  }
}
