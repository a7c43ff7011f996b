import { encode } from '@ipld/dag-cbor'
import type { Receipt } from '@ucanto/interface'
import { failure, type PieceAcceptSuccess, type Result, type Task } from '@w3filecoin/capabilities'
import { type EncodedInclusion, verifyInclusion } from '@w3filecoin/piece'
import { isTask, type Stored, update } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import { ensureMemberCheck, isFinal, newAggregate } from '../domain/aggregate.ts'
import { markAggregated, type PieceRecord } from '../domain/piece.ts'

/** Maximum pieces that wait for one task: the same piece, offered for different contents. */
const MAX_WAITING_PIECES = 100

/** Handles a `piece/accept` receipt that the aggregator sent: the aggregator put a piece into an aggregate. */
export const receivePieceAccept = async (
  dependencies: Pick<Dependencies, 'stores' | 'queues' | 'aggregator' | 'timing' | 'now'>,
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
  { stores, queues, timing, now }: Pick<Dependencies, 'stores' | 'queues' | 'timing' | 'now'>,
  record: Stored<PieceRecord>,
  receipt: Receipt,
): Promise<void> => {
  const success = receipt.out.ok as PieceAcceptSuccess | undefined
  const offer = receipt.fx.join
  if (success === undefined || !isTask(offer) || !provesInclusion(record, success, offer)) return
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
  if (known === undefined) await stores.aggregate.insert(aggregate)
  const membership = {
    aggregate: aggregate.aggregate,
    aggregateId: id,
    inclusion: encode(success.inclusion),
  }
  await update(stores.piece, { id: record.id }, current => markAggregated(current, membership, now(), timing))
  // The outcome may have arrived before the piece was marked, and missed it.
  const { record: current } = await scheduleCheck()
  if (current && isFinal(current)) await queues.outcome.send([{ aggregate: id, pieces: [record.id] }])
}

/** Whether the receipt is about this piece, has a valid inclusion proof, and promises to offer that aggregate. */
const provesInclusion = (
  { piece }: PieceRecord,
  { aggregate, inclusion, ...success }: PieceAcceptSuccess,
  offer: Task,
): boolean => {
  const [capability] = offer.capabilities
  const { nb } = (capability ?? {}) as { nb?: { aggregate?: unknown } }
  return (
    `${success.piece}` === piece &&
    capability?.can === 'aggregate/offer' &&
    `${nb?.aggregate}` === `${aggregate}` &&
    verifyInclusion({ piece: parseLink(piece), aggregate, inclusion: inclusion as EncodedInclusion })
      .error === undefined
  )
}
