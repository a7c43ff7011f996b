import type { Receipt } from '@ucanto/interface'
import {
  type AggregateAcceptSuccess,
  type Failure,
  failure,
  type Result,
  type Task,
} from '@w3filecoin/capabilities'
import { hasEffectBlocks, isTask, principal, putValue, reach, type Stored, update } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import {
  type AggregateRecord,
  aggregateId,
  isFinal,
  markAccepted,
  markFailed,
  type Verdict,
} from '../domain/aggregate.ts'
import { allShards, MEMBER_SHARDS, shardOf } from '../domain/member-shards.ts'

type OutcomeDependencies = Pick<Dependencies, 'stores' | 'queues' | 'dealer' | 'timing' | 'now'>

const unknownTask = (message: string) => ({ error: failure('UnknownTask', message) })

/**
 * Handles the outcome of an aggregate that the dealer issued: the receipt of `aggregate/accept`, or of `aggregate/offer` if
 * the dealer refused the offer because of its pieces. A receipt without the blocks of its effects is fetched again, whole.
 */
export const receiveAggregateOutcome = async (
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
  const success = receipt.out.ok as AggregateAcceptSuccess | undefined
  if (capability?.can === 'aggregate/offer') {
    if (`${ran.cid}` !== record.aggregateOfferCid)
      return unknownTask(`${aggregate} was not offered by ${ran.cid}`)
    // An accepted offer is not a deal yet.
    if (success) return { ok: {} }
  }
  if (!hasEffectBlocks(receipt)) {
    await queues.outcome.send([{ aggregate: record.id }])
    return { ok: {} }
  }
  const change = success ? acceptedChange(dependencies, success) : await failedChange(dependencies, receipt)
  const { changed } = await update(stores.aggregate, { id: record.id }, change)
  if (changed) await queues.outcome.send(allShards(record.id))
  return { ok: {} }
}

type Change = (record: Stored<AggregateRecord>) => Stored<AggregateRecord> | undefined

const acceptedChange = (
  { timing, now }: Pick<Dependencies, 'timing' | 'now'>,
  { dataType, dataSource }: AggregateAcceptSuccess,
): Change => {
  const deal = { dataType, dealID: Number(dataSource.dealID) }
  return record => markAccepted(record, deal, now(), timing)
}

/** Stores the verdicts on all pieces as blocks, one per shard. */
const failedChange = async (
  { stores, timing, now }: Pick<Dependencies, 'stores' | 'timing' | 'now'>,
  receipt: Receipt,
): Promise<Change> => {
  const shards: Verdict[][] = Array.from({ length: MEMBER_SHARDS }, () => [])
  const addVerdict = (verdict: Verdict) => shards[shardOf(verdict.piece)]?.push(verdict)
  const { cause } = receipt.out.error as Failure
  const faults: { piece: unknown; message: string }[] = Array.isArray(cause) ? cause : []
  for (const { piece, message } of faults) addVerdict({ piece: `${piece}`, fault: `${message}` })
  for (const offer of receipt.fx.fork.filter(isTask)) {
    const { piece } = (offer.capabilities[0]?.nb ?? {}) as { piece?: unknown }
    addVerdict({ piece: `${piece}`, retry: `${offer.cid}` })
  }
  const links = await pMap(shards, shard => putValue(stores.blocks, shard), { concurrency: 4 })
  const verdictsCid = await putValue(stores.blocks, links)
  return record => markFailed(record, verdictsCid, now(), timing)
}

/** Fetches the outcome of an aggregate from the aggregator, which stores the receipts of the dealer, and handles it. */
export const fetchAggregateOutcome = async (
  dependencies: OutcomeDependencies & Pick<Dependencies, 'aggregator' | 'log'>,
  { aggregateOfferCid }: AggregateRecord,
): Promise<void> => {
  const { aggregator, log } = dependencies
  const dealer = principal(dependencies.dealer)
  const fetchLast = async () => {
    const offer = await aggregator.receipt(aggregateOfferCid, dealer)
    return offer?.fx.join ? aggregator.receipt(`${offer.fx.join.link()}`, dealer) : offer
  }
  const { ok: outcome } = await reach(aggregator, fetchLast, log)
  if (outcome && isTask(outcome.ran)) await receiveAggregateOutcome(dependencies, outcome, outcome.ran)
}
