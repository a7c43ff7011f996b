import type { Receipt } from '@ucanto/interface'
import { type Failure, failure, type PieceAcceptSuccess, type Result } from '@w3filecoin/capabilities'
import { type EncodedInclusion, verifyInclusion } from '@w3filecoin/piece'
import { isExpectedTask, type Stored } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import {
  type AggregatorWords,
  aggregatorWords,
  expectedOffers,
  INVALID_PIECE,
} from '../dialects/aggregator-words.ts'
import type { PieceRecord } from '../domain/piece.ts'
import { endPiece } from './end-piece.ts'
import type { Aggregation, JoinAggregate } from './join-aggregate.ts'

/** Maximum pieces that wait for one task: the same piece, offered for different contents. */
const MAX_WAITING_PIECES = 100

type AggregationDependencies = Pick<
  Dependencies,
  'id' | 'stores' | 'queues' | 'aggregator' | 'dealer' | 'now' | 'log'
> & { join: JoinAggregate }

/**
 * Handles a `piece/accept` receipt that the aggregator sent: the aggregator put a piece into an aggregate.
 *
 * @param message the message that the receipt is from: see {@link JoinAggregate}
 */
export const receivePieceAccept = async (
  dependencies: AggregationDependencies,
  receipt: Receipt,
  message: object,
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
  for (const record of records) await recordAggregation(dependencies, record, receipt, message)
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
  message: object,
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
  if (aggregation) await dependencies.join(message, record, aggregation)
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
