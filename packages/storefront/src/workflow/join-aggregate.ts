import { encode } from '@ipld/dag-cbor'
import type { PieceAcceptSuccess, Task } from '@w3filecoin/capabilities'
import { inBatchesOfMessage, type Stored, update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { type AggregateRecord, ensureMemberCheck, isFinal, newAggregate } from '../domain/aggregate.ts'
import { newInclusion } from '../domain/inclusion.ts'
import { markAggregated, type PieceRecord } from '../domain/piece.ts'
import { reportNews } from './queue-piece.ts'

/** The aggregate of a piece, as the aggregator proves it. */
export interface Aggregation {
  aggregate: string
  inclusion: PieceAcceptSuccess['inclusion']
  /** The promised `aggregate/offer`; `undefined` if the aggregator does not name it. */
  offer: Task | undefined
}

/**
 * Records the aggregate of a piece, and what decides about it. `message` is the same object for all pieces that one message
 * or run records.
 */
export type JoinAggregate = (
  message: object,
  record: Stored<PieceRecord>,
  aggregation: Aggregation,
) => Promise<void>

/**
 * Returns a function that has pieces join their aggregates. A message usually has the receipts of 50 pieces of one aggregate: its
 * record, and that of their group, are then read and written a few times for all of them.
 */
export const joinByMessage = (
  dependencies: Pick<Dependencies, 'stores' | 'queues' | 'aggregator' | 'timing' | 'now' | 'log'>,
): JoinAggregate => {
  const { stores, queues, aggregator, timing, now, log } = dependencies

  const scheduleCheck = async (id: string): Promise<Stored<AggregateRecord> | undefined> => {
    const { record } = await update(stores.aggregate, { id }, current =>
      ensureMemberCheck(current, now(), timing),
    )
    return record
  }
  /** Returns the record of an aggregate, which is created if it is new, with a check. */
  const ensureAggregate = inBatchesOfMessage(
    async ([aggregate]: readonly [AggregateRecord, ...unknown[]]) => {
      const known = await scheduleCheck(aggregate.id)
      if (known) return known
      const inserted = await stores.aggregate.insert(aggregate)
      return inserted.ok ?? inserted.error.record
    },
  )
  const ensureCheck = inBatchesOfMessage(([id]: readonly [string, ...unknown[]]) => scheduleCheck(id))
  const report = inBatchesOfMessage(([record]: readonly [PieceRecord, ...unknown[]]) =>
    reportNews(dependencies, record),
  )

  return async (message, record, { aggregate: cid, inclusion, offer }) => {
    const aggregate = newAggregate(
      { aggregate: cid, nonce: offer?.nonce, aggregateOfferCid: offer && `${offer.cid}` },
      now(),
      timing,
    )
    const { id } = aggregate
    // Before the piece: if this run is killed in between, only the check of the aggregate finds the piece.
    const { aggregateOfferCid, offeredAt = 0 } = await ensureAggregate(message, id, aggregate)
    if (aggregateOfferCid !== aggregate.aggregateOfferCid) {
      // The outcome of another offer of the same aggregate is not the outcome of this one.
      log('error', 'aggregate offered twice', {
        ...aggregator.address,
        aggregate: aggregate.aggregate,
        offers: [aggregateOfferCid, aggregate.aggregateOfferCid],
      })
      return
    }
    const proof = { aggregate: cid, inclusion: encode(inclusion) }
    await stores.inclusion.putMany([newInclusion(record.piece, proof, offeredAt)])
    const membership = { aggregate: cid, aggregateId: id, aggregateSince: offeredAt }
    const { changed } = await update(
      stores.piece,
      { id: record.id },
      current => markAggregated(current, membership, now(), timing),
      { known: record },
    )
    if (changed) await report(message, record.group, record)
    // The outcome may have arrived before the piece was marked, and missed it.
    const current = await ensureCheck(message, id, id)
    if (current && isFinal(current)) await queues.outcome.send([{ aggregate: id, pieces: [record.id] }])
  }
}
