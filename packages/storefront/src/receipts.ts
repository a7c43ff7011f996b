import { decode, encode } from '@ipld/dag-cbor'
import { isDelegation } from '@ucanto/core/delegation'
import type { Invocation, Receipt } from '@ucanto/interface'
import {
  type AggregateAcceptSuccess,
  type FilecoinAcceptSuccess,
  failure,
  type PieceAcceptSuccess,
  type PieceLink,
  type Result,
} from '@w3filecoin/capabilities'
import { type EncodedInclusion, verifyInclusion } from '@w3filecoin/piece'
import { issueReceipt, type Key, principal, type Stored, unpackTask, update } from '@w3filecoin/service'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from './dependencies.ts'
import { type AggregateRecord, aggregateAccepted, aggregateId, aggregateOffered } from './domain/aggregate.ts'
import { accepted, aggregated, MEMBER_SHARDS, type PieceRecord } from './domain/piece.ts'

/** What a receipt of another service does to the records here, whether it was handed over or fetched. */

type Parts = Pick<Dependencies, 'id' | 'stores' | 'queues' | 'aggregator' | 'dealer' | 'timing' | 'now'>

const unknown = (message: string) => ({ error: failure('UnknownTask', message) })

/** The aggregator says that a piece is in an aggregate: `piece/accept`. */
export const takePieceAccept = async (parts: Parts, receipt: Receipt): Promise<Result<object>> => {
  const { stores, aggregator } = parts
  const task = `${receipt.ran.link()}`
  if (receipt.issuer?.did() !== aggregator.did) return unknown(`${task} was not run by our aggregator`)
  const { items } = await stores.pieces.find('waitsFor', task, { limit: 100 })
  const records = (await stores.pieces.getMany(items as Key[])).filter(record => record?.waitsFor === task)
  if (records.length === 0) return unknown(`No piece waits for ${task}`)
  for (const record of records) await noteAggregate(parts, record as Stored<PieceRecord>, receipt)
  return { ok: {} }
}

/** Notes in a piece's record which aggregate it is in. */
export const noteAggregate = async (
  { stores, queues, timing, now }: Parts,
  record: Stored<PieceRecord>,
  receipt: Receipt,
): Promise<void> => {
  const success = receipt.out.ok as PieceAcceptSuccess | undefined
  const offer = receipt.fx.join as Invocation | undefined
  if (success === undefined || offer === undefined || !provesInclusion(record, success, offer)) return
  const aggregate = aggregateOffered(
    { aggregate: `${success.aggregate}`, nonce: offer.nonce, aggregateOffer: `${offer.cid}` },
    now(),
    timing,
  )
  if ((await stores.aggregates.get({ id: aggregate.id })) === undefined)
    await stores.aggregates.insert(aggregate)
  const membership = {
    aggregate: aggregate.aggregate,
    aggregateId: aggregate.id,
    inclusion: encode(success.inclusion),
  }
  await update(stores.pieces, { id: record.id }, current => aggregated(current, membership, now(), timing))
  // The outcome may have come before this piece was found to be in it.
  const outcome = await stores.aggregates.get({ id: aggregate.id })
  if (outcome?.stage === 'accepted')
    await queues.accept.send([{ aggregate: outcome.id, pieces: [record.id] }])
}

/** Whether what the aggregator says is about this piece, proves it, and goes on with an offer of that aggregate. */
const provesInclusion = (
  { piece }: PieceRecord,
  { aggregate, inclusion, ...success }: PieceAcceptSuccess,
  offer: Invocation,
): boolean => {
  const [capability] = isDelegation(offer as never) ? offer.capabilities : []
  const { nb } = (capability ?? {}) as { nb?: { aggregate?: unknown } }
  return (
    `${success.piece}` === piece &&
    capability?.can === 'aggregate/offer' &&
    `${nb?.aggregate}` === `${aggregate}` &&
    verifyInclusion({ piece: parseLink(piece), aggregate, inclusion: inclusion as EncodedInclusion })
      .error === undefined
  )
}

/** The dealer says that an aggregate is in a deal: `aggregate/accept`. */
export const takeAggregateAccept = async (
  { stores, queues, dealer, now }: Parts,
  receipt: Receipt,
  ran: Invocation,
): Promise<Result<object>> => {
  if (receipt.issuer?.did() !== dealer) return unknown(`${ran.cid} was not run by our dealer`)
  const { aggregate } = (ran.capabilities[0]?.nb ?? {}) as { aggregate?: unknown }
  const record = await stores.aggregates.get({
    id: aggregateId({ aggregate: `${aggregate}`, nonce: ran.nonce }),
  })
  if (record === undefined) return unknown(`No piece is in ${aggregate}`)
  const success = receipt.out.ok as AggregateAcceptSuccess | undefined
  if (success === undefined) return { ok: {} }
  const { dataType, dataSource } = success
  const deal = { dataType, dealID: Number(dataSource.dealID) }
  const { changed } = await update(stores.aggregates, { id: record.id }, current =>
    aggregateAccepted(current, deal, now()),
  )
  if (changed) await queues.accept.send(allShards(record.id))
  return { ok: {} }
}

/** Asks the aggregator, who keeps the dealer's receipts, for the one that we wait for. */
export const askAfter = async (parts: Parts, { aggregateOffer }: AggregateRecord): Promise<void> => {
  const { aggregator } = parts
  const dealer = principal(parts.dealer)
  const offer = await aggregator.receipt(aggregateOffer, dealer)
  const accept = offer?.fx.join && (await aggregator.receipt(`${offer.fx.join.link()}`, dealer))
  if (accept && isDelegation(accept.ran as never))
    await takeAggregateAccept(parts, accept, accept.ran as Invocation)
}

/** One message for every range of the pieces in an aggregate. */
export const allShards = (aggregate: string) =>
  Array.from({ length: MEMBER_SHARDS }, (_, shard) => ({ aggregate, shard }))

/** Ends the workflow of a piece that is in a deal: the receipt first, then the record. */
export const endAccepted = async (
  { id, stores, now }: Pick<Parts, 'id' | 'stores' | 'now'>,
  record: Stored<PieceRecord>,
  { dataType, dealID }: AggregateRecord,
): Promise<void> => {
  if (accepted(record, now()) === undefined) return
  const success: FilecoinAcceptSuccess = {
    piece: parseLink(record.piece) as unknown as PieceLink,
    aggregate: parseLink(record.aggregate as string) as unknown as PieceLink,
    inclusion: decode(record.inclusion as Uint8Array),
    aux: { dataType: dataType as number, dataSource: { dealID: dealID as number } },
  }
  await stores.receipts.put(await issueReceipt(id, await unpackTask(record.accept), { out: { ok: success } }))
  await update(stores.pieces, { id: record.id }, current => accepted(current, now()))
}
