import type { Receipt } from '@ucanto/interface'
import {
  type AggregateAcceptSuccess,
  type DealInfoSuccess,
  type DealMetadata,
  endsAggregate,
  type Failure,
  failure,
  findLivePlaces,
  namesInvalidPieces,
  parsePieceLink,
  type Result,
  readMetadata,
  type Task,
  toMetadata,
} from '@w3filecoin/capabilities'
import {
  hasEffectBlocks,
  isExpectedTask,
  principal,
  putValue,
  reach,
  type Stored,
  trackerQuestion,
  update,
} from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import {
  type AggregateRecord,
  aggregateId,
  isFinal,
  markAccepted,
  markFailed,
  markPromised,
  recordOutcomeProblem,
  type Verdict,
} from '../domain/aggregate.ts'
import { allShards, MEMBER_SHARDS, shardOf } from '../domain/member-shards.ts'

type OutcomeDependencies = Pick<
  Dependencies,
  'stores' | 'queues' | 'aggregator' | 'dealer' | 'timing' | 'now' | 'log'
>

const unknownTask = (message: string) => ({ error: failure('UnknownTask', message) })

/**
 * Handles a receipt that the dealer issued about an aggregate: of the `aggregate/offer` that the aggregate's record names,
 * or of the `aggregate/accept` that the dealer promised in it. A receipt of any other task of the dealer changes
 * nothing. A receipt without the blocks of its effects is fetched again, whole.
 *
 * Fails with `UnknownTask`. If the promise is not known yet, the storefront fetches it, and the outcome after it.
 */
export const receiveAggregateReceipt = async (
  dependencies: OutcomeDependencies,
  receipt: Receipt,
  ran: Task,
): Promise<Result<object>> => {
  const { stores, queues, dealer } = dependencies
  if (receipt.issuer?.did() !== dealer) return unknownTask(`${ran.cid} was not run by our dealer`)
  const [capability] = ran.capabilities
  const { aggregate } = (capability?.nb ?? {}) as { aggregate?: unknown }
  const record = await stores.aggregate.get({
    id: aggregateId({ aggregate: `${aggregate}`, nonce: ran.nonce }),
  })
  if (record === undefined) return unknownTask(`No piece is in ${aggregate}`)
  if (isFinal(record)) return { ok: {} }
  const isOffer = capability?.can === 'aggregate/offer'
  const task = isOffer ? record.aggregateOfferCid : record.acceptCid
  if (`${ran.cid}` !== task) {
    if (task === undefined) await queues.outcome.send([{ aggregate: record.id }])
    return unknownTask(`${aggregate} does not wait for the receipt of ${ran.cid}`)
  }
  if (!hasEffectBlocks(receipt)) {
    await queues.outcome.send([{ aggregate: record.id }])
    return { ok: {} }
  }
  return isOffer
    ? receiveAnswer(dependencies, record, receipt)
    : receiveOutcome(dependencies, record, receipt)
}

/** Handles the dealer's answer to the offer of an aggregate: it promises `aggregate/accept`, or names invalid pieces. */
const receiveAnswer = async (
  dependencies: OutcomeDependencies,
  record: Stored<AggregateRecord>,
  receipt: Receipt,
): Promise<Result<object>> => {
  const { stores, dealer } = dependencies
  const { join } = receipt.fx
  if (receipt.out.error)
    return namesInvalidPieces(receipt.out.error as Failure)
      ? changeStage(dependencies, record, await failedChange(dependencies, receipt))
      : ignore(dependencies, record, receipt)
  const expected = { can: 'aggregate/accept', issuer: dealer, nb: { aggregate: record.aggregate } }
  if (!isExpectedTask(join, expected)) return ignore(dependencies, record, receipt)
  await update(stores.aggregate, { id: record.id }, current => markPromised(current, `${join.cid}`))
  return { ok: {} }
}

/** Handles the receipt of the promised `aggregate/accept`. */
const receiveOutcome = async (
  dependencies: OutcomeDependencies,
  record: Stored<AggregateRecord>,
  receipt: Receipt,
): Promise<Result<object>> => {
  const success = receipt.out.ok as AggregateAcceptSuccess | undefined
  const error = receipt.out.error as Failure | undefined
  // The storefront signs these fields too, and no others that the receipt may have.
  const metadata = `${success?.aggregate}` === record.aggregate ? readMetadata(success) : undefined
  if (metadata) return changeStage(dependencies, record, acceptedChange(dependencies, metadata))
  return error && endsAggregate(error)
    ? changeStage(dependencies, record, await failedChange(dependencies, receipt))
    : ignore(dependencies, record, receipt)
}

/** Changes the stage of an aggregate, and has its pieces follow. */
const changeStage = async (
  { stores, queues }: Pick<Dependencies, 'stores' | 'queues'>,
  { id }: Stored<AggregateRecord>,
  change: Change,
): Promise<Result<object>> => {
  const { changed } = await update(stores.aggregate, { id }, change)
  if (changed) await queues.outcome.send(allShards(id))
  return { ok: {} }
}

/** Logs a receipt of the dealer that decides nothing. */
const ignore = (
  { aggregator, dealer, log }: Pick<Dependencies, 'aggregator' | 'dealer' | 'log'>,
  { aggregate }: AggregateRecord,
  { ran, out }: Receipt,
): Result<object> => {
  const { name, message } = (out.error ?? {}) as Partial<Failure>
  log('error', 'receipt decides nothing', {
    ...aggregator.address,
    signer: dealer,
    aggregate,
    task: `${ran.link()}`,
    refusal: { name, message },
  })
  return {
    error: failure('InvalidReceipt', `The receipt of ${ran.link()} does not decide about ${aggregate}`),
  }
}

type Change = (record: Stored<AggregateRecord>) => Stored<AggregateRecord> | undefined

const acceptedChange =
  ({ timing, now }: Pick<Dependencies, 'timing' | 'now'>, metadata: DealMetadata): Change =>
  record =>
    markAccepted(record, metadata, now(), timing)

/** Stores the verdicts on all pieces as blocks, one per shard. The retries must be offers of the dealer to our aggregator. */
const failedChange = async (
  { stores, aggregator, dealer, timing, now }: OutcomeDependencies,
  receipt: Receipt,
): Promise<Change> => {
  const shards: Verdict[][] = Array.from({ length: MEMBER_SHARDS }, () => [])
  const addVerdict = (verdict: Verdict) => shards[shardOf(verdict.piece)]?.push(verdict)
  const reason = receipt.out.error as Failure
  const { cause } = reason
  const faults: { piece: unknown; message: string }[] = Array.isArray(cause) ? cause : []
  for (const { piece, message } of faults) addVerdict({ piece: `${piece}`, fault: `${message}` })
  const expected = { can: 'piece/offer', issuer: dealer, audience: aggregator.did, nb: {} }
  for (const offer of receipt.fx.fork) {
    if (!isExpectedTask(offer, expected)) continue
    const { piece } = (offer.capabilities[0]?.nb ?? {}) as { piece?: unknown }
    addVerdict({ piece: `${piece}`, retry: `${offer.cid}` })
  }
  const links = await pMap(shards, shard => putValue(stores.blocks, shard), { concurrency: 4 })
  const verdictsCid = await putValue(stores.blocks, links)
  return record => markFailed(record, verdictsCid, now(), timing, reason)
}

/**
 * Fetches the outcome of an aggregate from the aggregator, which stores the receipts of the dealer. If the promised task is
 * not known yet, it fetches the promise first. If the aggregator did not link to an offer, it asks the deal tracker: then only
 * a live place is an outcome.
 */
export const fetchAggregateOutcome = async (
  dependencies: OutcomeDependencies & Pick<Dependencies, 'id' | 'dealTracker' | 'placeTypes' | 'random'>,
  record: Stored<AggregateRecord>,
): Promise<void> => {
  const { stores, aggregator, log } = dependencies
  const { aggregateOfferCid } = record
  if (aggregateOfferCid === undefined) return fetchDeal(dependencies, record)
  const dealer = principal(dependencies.dealer)
  const fetchReceipt = async (task: string, receive: typeof receiveAnswer): Promise<void> => {
    const { ok: receipt, error } = await reach(aggregator, () => aggregator.receipt(task, dealer), log)
    await recordProblem(dependencies, record, error?.message)
    if (receipt) await receive(dependencies, record, receipt)
  }
  if (record.acceptCid === undefined) await fetchReceipt(aggregateOfferCid, receiveAnswer)
  const { acceptCid } = record.acceptCid ? record : ((await stores.aggregate.get({ id: record.id })) ?? {})
  if (acceptCid !== undefined) await fetchReceipt(acceptCid, receiveOutcome)
}

/** Records why the outcome could not be asked for, or that there is no problem any more. */
const recordProblem = async (
  { stores, timing, now }: Pick<Dependencies, 'stores' | 'timing' | 'now'>,
  { id, trouble }: AggregateRecord,
  problem: string | undefined,
): Promise<void> => {
  if (problem !== undefined || trouble !== undefined)
    await update(stores.aggregate, { id }, current => recordOutcomeProblem(current, problem, now(), timing))
}

/** Asks the deal tracker for a live place of an aggregate, and accepts the aggregate with it. */
const fetchDeal = async (
  dependencies: OutcomeDependencies & Pick<Dependencies, 'id' | 'dealTracker' | 'placeTypes' | 'random'>,
  record: Stored<AggregateRecord>,
): Promise<void> => {
  const { id, dealTracker, placeTypes, random, log } = dependencies
  const piece = parsePieceLink(record.aggregate)
  const question = await trackerQuestion(id, dealTracker, { piece, nonce: random() })
  const { ok: answers, error } = await reach(dealTracker, () => dealTracker.execute([question]), log)
  const [answer] = answers ?? []
  const refusal = answer?.error ?? (answer?.ok.out.error as Failure | undefined)
  const isKnown = refusal === undefined || refusal.name === 'DealNotFound'
  await recordProblem(
    dependencies,
    record,
    error?.message ?? (isKnown ? undefined : `The deal tracker refuses to answer: ${refusal.message}`),
  )
  const { deals = {}, places = [] } = (answer?.ok?.out.ok ?? {}) as Partial<DealInfoSuccess>
  const [live] = findLivePlaces({ deals, places }, placeTypes)
  if (live === undefined) return
  await changeStage(dependencies, record, acceptedChange(dependencies, toMetadata(live.place, live.epoch)))
}
