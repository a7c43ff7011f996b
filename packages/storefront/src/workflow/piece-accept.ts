import { encode } from '@ipld/dag-cbor'
import type { Receipt } from '@ucanto/interface'
import { failure, type PieceAcceptSuccess, type Result } from '@w3filecoin/capabilities'
import { type EncodedInclusion, verifyInclusion } from '@w3filecoin/piece'
import { isExpectedTask, type Stored, update } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import { ensureMemberCheck, isFinal, newAggregate } from '../domain/aggregate.ts'
import { newInclusion } from '../domain/inclusion.ts'
import { markAggregated, type PieceRecord } from '../domain/piece.ts'
import { reportNews } from './queue-piece.ts'

/** Maximum pieces that wait for one task: the same piece, offered for different contents. */
const MAX_WAITING_PIECES = 100

type AggregationDependencies = Pick<
  Dependencies,
  'stores' | 'queues' | 'aggregator' | 'dealer' | 'timing' | 'now' | 'log'
>

/** Handles a `piece/accept` receipt that the aggregator sent: the aggregator put a piece into an aggregate. */
export const receivePieceAccept = async (
  dependencies: AggregationDependencies,
  receipt: Receipt,
): Promise<Result<object>> => {
  const { stores, aggregator } = dependencies
  const task = `${receipt.ran.link()}`
  if (receipt.issuer?.did() !== aggregator.did)
    return { error: failure('UnknownTask', `${task} was not run by our aggregator`) }
  const { items } = await stores.piece.find('waitsFor', task, { limit: MAX_WAITING_PIECES })
  const records = (await stores.piece.getMany(items))
    .filter(record => record !== undefined)
    .filter(({ waitsFor }) => waitsFor === task)
  if (records.length === 0) return { error: failure('UnknownTask', `No piece waits for ${task}`) }
  for (const record of records) await recordAggregation(dependencies, record, receipt)
  return { ok: {} }
}

/** Records which aggregate a piece is in, unless the receipt of `piece/accept` fails to prove it. */
export const recordAggregation = async (
  dependencies: AggregationDependencies,
  record: Stored<PieceRecord>,
  receipt: Receipt,
): Promise<void> => {
  const { stores, queues, timing, now, log } = dependencies
  const promised = aggregationIn(dependencies, record, receipt)
  if (promised === undefined) {
    log('error', 'receipt decides nothing', { piece: record.piece, task: `${receipt.ran.link()}` })
    return
  }
  const { success, offer } = promised
  const aggregate = newAggregate(
    { aggregate: `${success.aggregate}`, nonce: offer.nonce, aggregateOfferCid: `${offer.cid}` },
    now(),
    timing,
  )
  const { id } = aggregate
  const scheduleCheck = () =>
    update(stores.aggregate, { id }, current => ensureMemberCheck(current, now(), timing))
  // Before the piece: if this run is killed in between, only the check of the aggregate finds the piece.
  const { record: known } = await scheduleCheck()
  const inserted = known ? undefined : await stores.aggregate.insert(aggregate)
  const { aggregateOfferCid, offeredAt = 0 } = known ?? inserted?.ok ?? inserted?.error?.record ?? aggregate
  if (aggregateOfferCid !== aggregate.aggregateOfferCid) {
    // The outcome of another offer of the same aggregate is not the outcome of this one.
    log('error', 'aggregate offered twice', {
      aggregate: aggregate.aggregate,
      offers: [aggregateOfferCid, aggregate.aggregateOfferCid],
    })
    return
  }
  const membership = {
    aggregate: aggregate.aggregate,
    aggregateId: id,
    inclusion: encode(success.inclusion),
  }
  await stores.inclusion.putMany([newInclusion(record.piece, membership, offeredAt)])
  const { changed } = await update(stores.piece, { id: record.id }, current =>
    markAggregated(current, membership, now(), timing),
  )
  if (changed) await reportNews(dependencies, record)
  // The outcome may have arrived before the piece was marked, and missed it.
  const { record: current } = await scheduleCheck()
  if (current && isFinal(current)) await queues.outcome.send([{ aggregate: id, pieces: [record.id] }])
}

/**
 * Returns the result of a `piece/accept` receipt and the promised `aggregate/offer`. `undefined` unless the aggregator itself
 * ran the task for this piece, the inclusion proof is valid, and the aggregator promises to offer that aggregate to our
 * dealer.
 */
const aggregationIn = (
  { aggregator, dealer }: Pick<Dependencies, 'aggregator' | 'dealer'>,
  { piece, group }: PieceRecord,
  { ran, out, fx: { join } }: Receipt,
) => {
  const issuer = aggregator.did
  const success = out.ok as PieceAcceptSuccess | undefined
  if (success === undefined || `${success.piece}` !== piece) return undefined
  const { aggregate, inclusion } = success
  return isExpectedTask(ran, { can: 'piece/accept', issuer, nb: { piece, group } }) &&
    isExpectedTask(join, {
      can: 'aggregate/offer',
      issuer,
      audience: dealer,
      nb: { aggregate: `${aggregate}` },
    }) &&
    verifyInclusion({ piece: parseLink(piece), aggregate, inclusion: inclusion as EncodedInclusion })
      .error === undefined
    ? { success, offer: join }
    : undefined
}
