import { decode, encode } from '@ipld/dag-cbor'
import { isDelegation } from '@ucanto/core/delegation'
import type { Invocation, Receipt } from '@ucanto/interface'
import {
  type AggregateAcceptSuccess,
  type Failure,
  type FilecoinAcceptSuccess,
  failure,
  type PieceAcceptSuccess,
  type PieceLink,
  type Result,
} from '@w3filecoin/capabilities'
import { type EncodedInclusion, verifyInclusion } from '@w3filecoin/piece'
import {
  getValue,
  hasEffectBlocks,
  issueReceipt,
  type Key,
  type Outcome,
  principal,
  putValue,
  reach,
  type Stored,
  unpackTask,
  update,
} from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import pMap from 'p-map'
import type { Dependencies } from './dependencies.ts'
import {
  type AggregateRecord,
  aggregateId,
  ensureMemberCheck,
  markAccepted,
  markFailed,
  newAggregate,
  type Verdict,
} from './domain/aggregate.ts'
import {
  MEMBER_SHARDS,
  markAggregated,
  markEnded,
  markRetried,
  type PieceRecord,
  shardOf,
} from './domain/piece.ts'

/** What a receipt of another service does to the records here, whether it was handed over or fetched. */

type Parts = Pick<Dependencies, 'id' | 'stores' | 'queues' | 'aggregator' | 'dealer' | 'timing' | 'now'>

const unknownTask = (message: string) => ({ error: failure('UnknownTask', message) })

/** The aggregator says that a piece is in an aggregate: `piece/accept`. */
export const receivePieceAccept = async (parts: Parts, receipt: Receipt): Promise<Result<object>> => {
  const { stores, aggregator } = parts
  const task = `${receipt.ran.link()}`
  if (receipt.issuer?.did() !== aggregator.did) return unknownTask(`${task} was not run by our aggregator`)
  const { items } = await stores.piece.find('waitsFor', task, { limit: 100 })
  const records = (await stores.piece.getMany(items as Key[])).filter(record => record?.waitsFor === task)
  if (records.length === 0) return unknownTask(`No piece waits for ${task}`)
  for (const record of records) await recordAggregation(parts, record as Stored<PieceRecord>, receipt)
  return { ok: {} }
}

/** Notes in a piece's record which aggregate it is in. */
export const recordAggregation = async (
  { stores, queues, timing, now }: Parts,
  record: Stored<PieceRecord>,
  receipt: Receipt,
): Promise<void> => {
  const success = receipt.out.ok as PieceAcceptSuccess | undefined
  const offer = receipt.fx.join as Invocation | undefined
  if (success === undefined || offer === undefined || !provesInclusion(record, success, offer)) return
  const aggregate = newAggregate(
    { aggregate: `${success.aggregate}`, nonce: offer.nonce, aggregateOfferCid: `${offer.cid}` },
    now(),
    timing,
  )
  const { id } = aggregate
  const lookAfter = () =>
    update(stores.aggregate, { id }, current => ensureMemberCheck(current, now(), timing))
  // Before the piece says that it is in it: who is cut in between leaves a piece that only its aggregate brings on.
  const { record: known } = await lookAfter()
  if (known === undefined) await stores.aggregate.insert(aggregate)
  const membership = {
    aggregate: aggregate.aggregate,
    aggregateId: id,
    inclusion: encode(success.inclusion),
  }
  await update(stores.piece, { id: record.id }, current => markAggregated(current, membership, now(), timing))
  // The outcome may have come before this piece was found to be in it.
  const { record: outcome } = await lookAfter()
  if (outcome && outcome.stage !== 'offered')
    await queues.outcome.send([{ aggregate: id, pieces: [record.id] }])
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

/**
 * The dealer says what became of an aggregate: `aggregate/accept`, or `aggregate/offer` where that was refused for the
 * pieces in it. A receipt that came without the tasks by which pieces are tried again is fetched whole.
 */
export const receiveAggregateOutcome = async (
  parts: Parts,
  receipt: Receipt,
  ran: Invocation,
): Promise<Result<object>> => {
  const { stores, queues, dealer } = parts
  if (receipt.issuer?.did() !== dealer) return unknownTask(`${ran.cid} was not run by our dealer`)
  const [capability] = ran.capabilities
  const { aggregate } = (capability?.nb ?? {}) as { aggregate?: unknown }
  const record = await stores.aggregate.get({
    id: aggregateId({ aggregate: `${aggregate}`, nonce: ran.nonce }),
  })
  if (record === undefined) return unknownTask(`No piece is in ${aggregate}`)
  if (record.stage !== 'offered') return { ok: {} }
  const success = receipt.out.ok as AggregateAcceptSuccess | undefined
  if (capability?.can === 'aggregate/offer') {
    if (`${ran.cid}` !== record.aggregateOfferCid)
      return unknownTask(`${ran.cid} is not how ${aggregate} was offered`)
    // That it was taken says nothing of a deal.
    if (success) return { ok: {} }
  }
  if (!hasEffectBlocks(receipt)) {
    await queues.outcome.send([{ aggregate: record.id }])
    return { ok: {} }
  }
  const change = success ? acceptedChange(parts, success) : await failedChange(parts, receipt)
  const { changed } = await update(stores.aggregate, { id: record.id }, change)
  if (changed) await queues.outcome.send(allShards(record.id))
  return { ok: {} }
}

type Change = (record: Stored<AggregateRecord>) => Stored<AggregateRecord> | undefined

const acceptedChange = (
  { timing, now }: Pick<Parts, 'timing' | 'now'>,
  { dataType, dataSource }: AggregateAcceptSuccess,
): Change => {
  const deal = { dataType, dealID: Number(dataSource.dealID) }
  return record => markAccepted(record, deal, now(), timing)
}

/** Cuts what the receipt says about each piece in the ranges that the pieces are worked on. */
const failedChange = async (
  { stores, timing, now }: Pick<Parts, 'stores' | 'timing' | 'now'>,
  receipt: Receipt,
): Promise<Change> => {
  const shards: Verdict[][] = Array.from({ length: MEMBER_SHARDS }, () => [])
  const { cause } = receipt.out.error as Failure
  for (const { piece, message } of (Array.isArray(cause) ? cause : []) as {
    piece: unknown
    message: string
  }[])
    shards[shardOf(`${piece}`)]?.push({ piece: `${piece}`, fault: `${message}` })
  for (const offer of receipt.fx.fork as Invocation[]) {
    const { piece } = (offer.capabilities[0]?.nb ?? {}) as { piece?: unknown }
    shards[shardOf(`${piece}`)]?.push({ piece: `${piece}`, retry: `${offer.cid}` })
  }
  const links = await pMap(shards, shard => putValue(stores.blocks, shard), { concurrency: 4 })
  const verdicts = await putValue(stores.blocks, links)
  return record => markFailed(record, verdicts, now(), timing)
}

/** Asks the aggregator, who keeps the dealer's receipts, for the one that we wait for. */
export const fetchOutcome = async (
  parts: Parts & Pick<Dependencies, 'log'>,
  { aggregateOfferCid }: AggregateRecord,
): Promise<void> => {
  const { aggregator, log } = parts
  const dealer = principal(parts.dealer)
  const ask = async () => {
    const offer = await aggregator.receipt(aggregateOfferCid, dealer)
    return offer?.fx.join ? aggregator.receipt(`${offer.fx.join.link()}`, dealer) : offer
  }
  const { ok: outcome } = await reach(aggregator, ask, log)
  if (outcome && isDelegation(outcome.ran as never))
    await receiveAggregateOutcome(parts, outcome, outcome.ran as Invocation)
}

/** One message for every range of the pieces in an aggregate. */
export const allShards = (aggregate: string) =>
  Array.from({ length: MEMBER_SHARDS }, (_, shard) => ({ aggregate, shard }))

/** Ends the workflow of a piece: the receipt first, then the record, as the receipt says that is filed. */
export const endPiece = async (
  { id, stores, now }: Pick<Parts, 'id' | 'stores' | 'now'>,
  record: Stored<PieceRecord>,
  out: Outcome['out'],
): Promise<void> => {
  const receipt = await stores.receipts.put(
    await issueReceipt(id, await unpackTask(record.acceptTask), { out }),
  )
  await update(stores.piece, { id: record.id }, current =>
    markEnded(current, receipt.out.error as Failure | undefined, now()),
  )
}

/** Ends the workflow of a piece that is in a deal. */
export const settleAccepted = async (
  parts: Pick<Parts, 'id' | 'stores' | 'now'>,
  record: Stored<PieceRecord>,
  { dataType, dealID }: AggregateRecord,
): Promise<void> => {
  if (record.stage !== 'aggregated') return
  const success: FilecoinAcceptSuccess = {
    piece: parseLink(record.piece) as unknown as PieceLink,
    aggregate: parseLink(record.aggregate as string) as unknown as PieceLink,
    inclusion: decode(record.inclusion as Uint8Array),
    aux: { dataType: dataType as number, dataSource: { dealID: dealID as number } },
  }
  await endPiece(parts, record, { ok: success })
}

/** Follows the pieces of a failed aggregate that are tried again, and ends the workflows of the others. */
export const settleFailed = async (
  parts: Pick<Parts, 'id' | 'stores' | 'queues' | 'timing' | 'now'>,
  records: readonly Stored<PieceRecord>[],
  { id: aggregateId, aggregate, verdictsCid }: AggregateRecord,
): Promise<void> => {
  const { stores, queues, timing, now } = parts
  const links = await getValue<string[]>(stores.blocks, verdictsCid as string)
  const needed = [...new Set(records.map(({ piece }) => shardOf(piece)))]
  const shards = await pMap(needed, shard => getValue<Verdict[]>(stores.blocks, links[shard] as string), {
    concurrency: 4,
  })
  const verdictOf = new Map(shards.flat().map(verdict => [verdict.piece, verdict]))
  await pMap(
    records.filter(({ stage }) => stage === 'aggregated'),
    async record => {
      const { retry, fault } = verdictOf.get(record.piece) ?? {}
      if (retry !== undefined)
        await update(stores.piece, { id: record.id }, current =>
          markRetried(current, { aggregateId, retry }, now(), timing),
        )
      else if (fault !== undefined)
        await endPiece(parts, record, {
          error: failure('InvalidContentPiece', fault, { content: parseLink(record.content) }),
        })
      else
        await endPiece(parts, record, {
          error: failure(
            'ProofNotFound',
            `${aggregate} got no deal, and its dealer does not try the piece again`,
          ),
        })
    },
    { concurrency: 10 },
  )
  await queues.aggregation.send(
    records.filter(({ piece }) => verdictOf.get(piece)?.retry !== undefined).map(({ id }) => ({ id })),
  )
}
