import { encode } from '@ipld/dag-cbor'
import type { Receipt } from '@ucanto/interface'
import {
  type Failure,
  failure,
  type PieceAcceptSuccess,
  type Result,
  type Task,
} from '@w3filecoin/capabilities'
import { type EncodedInclusion, verifyInclusion } from '@w3filecoin/piece'
import { isExpectedTask, type Stored, update } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import {
  type AggregatorWords,
  aggregatorWords,
  expectedOffers,
  INVALID_PIECE,
} from '../dialects/aggregator-words.ts'
import { ensureMemberCheck, isFinal, newAggregate } from '../domain/aggregate.ts'
import { newInclusion } from '../domain/inclusion.ts'
import { markAggregated, type PieceRecord } from '../domain/piece.ts'
import { endPiece } from './end-piece.ts'
import { reportNews } from './queue-piece.ts'

/** Maximum pieces that wait for one task: the same piece, offered for different contents. */
const MAX_WAITING_PIECES = 100

type AggregationDependencies = Pick<
  Dependencies,
  'id' | 'stores' | 'queues' | 'aggregator' | 'dealer' | 'timing' | 'now' | 'log'
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

/**
 * Records which aggregate a piece is in, unless the receipt fails to prove it. The workflow ends if the aggregator refuses the
 * piece in it, or if it names an aggregate without a proof: a receipt is final, so no proof can follow.
 */
export const recordAggregation = async (
  dependencies: AggregationDependencies,
  record: Stored<PieceRecord>,
  receipt: Receipt,
): Promise<void> => {
  const { id, aggregator, log } = dependencies
  const words = aggregatorWords(id, aggregator)
  const promised = isExpectedTask(receipt.ran, words.promised(record))
  const problem = promised && findFailure(record, aggregator.did, receipt)
  if (problem) {
    await endPiece(dependencies, record, { error: problem })
    return
  }
  const aggregation = promised ? readAggregation(dependencies, words, record, receipt) : undefined
  if (aggregation) await joinAggregate(dependencies, record, aggregation)
  else
    log('error', 'receipt decides nothing', {
      ...aggregator.address,
      piece: record.piece,
      task: `${receipt.ran.link()}`,
    })
}

/** Returns why the piece gets no proof, if the receipt of the promised task says so. */
const findFailure = (
  { piece, content }: PieceRecord,
  aggregator: string,
  { out }: Receipt,
): Failure | undefined => {
  const { aggregate, inclusion } = (out.ok ?? {}) as Partial<PieceAcceptSuccess>
  if (aggregate !== undefined && inclusion === undefined)
    return failure(
      'ProofNotFound',
      `${aggregator} reports that ${piece} is in the aggregate ${aggregate}, without an inclusion proof. Only \`inclusion\` in the receipt proves it`,
    )
  const { name, message } = (out.error ?? {}) as Partial<Failure>
  return name !== undefined && INVALID_PIECE.has(name)
    ? failure('InvalidContentPiece', `${message}`, { content: parseLink(content) })
    : undefined
}

/** The aggregate of a piece, as the aggregator proves it. */
interface Aggregation {
  aggregate: string
  inclusion: PieceAcceptSuccess['inclusion']
  /** The promised `aggregate/offer`; `undefined` if the aggregator does not name it. */
  offer: Task | undefined
}

/** Records the aggregate of a piece, and what decides about it. */
const joinAggregate = async (
  dependencies: AggregationDependencies,
  record: Stored<PieceRecord>,
  { aggregate: cid, inclusion, offer }: Aggregation,
): Promise<void> => {
  const { stores, queues, aggregator, timing, now, log } = dependencies
  const aggregate = newAggregate(
    { aggregate: cid, nonce: offer?.nonce, aggregateOfferCid: offer && `${offer.cid}` },
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
  if (changed) await reportNews(dependencies, record)
  // The outcome may have arrived before the piece was marked, and missed it.
  const { record: current } = await scheduleCheck()
  if (current && isFinal(current)) await queues.outcome.send([{ aggregate: id, pieces: [record.id] }])
}

/**
 * Returns the aggregate in the receipt of the promised task. `undefined` unless the inclusion proof is valid, and the aggregator
 * promises to offer that aggregate to our dealer, if it has words for that. The receipts of an offer in a dialect name no
 * deal, so the deal tracker reports the outcome.
 */
const readAggregation = (
  { aggregator, dealer }: Pick<Dependencies, 'aggregator' | 'dealer'>,
  { linksToOffer }: AggregatorWords,
  { piece }: PieceRecord,
  { out, fx: { join } }: Receipt,
): Aggregation | undefined => {
  const success = out.ok as PieceAcceptSuccess | undefined
  if (success === undefined || `${success.piece ?? piece}` !== piece) return undefined
  const { aggregate, inclusion } = success
  const proof = { piece: parseLink(piece), aggregate, inclusion: inclusion as EncodedInclusion }
  if (verifyInclusion(proof).error) return undefined
  const found = { aggregate: `${aggregate}`, inclusion, offer: undefined }
  if (!linksToOffer) return found
  const [inProtocol, ...inDialects] = expectedOffers(found.aggregate, aggregator.did, dealer)
  if (isExpectedTask(join, inProtocol)) return { ...found, offer: join }
  return inDialects.some(expected => isExpectedTask(join, expected)) ? found : undefined
}
