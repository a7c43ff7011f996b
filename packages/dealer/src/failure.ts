import type { Receipt } from '@ucanto/interface'
import { type Failure, failure, type PieceLink, type Task, Tasks } from '@w3filecoin/capabilities'
import type { InvalidPieceCID } from '@w3filecoin/piece'
import {
  batchesOf,
  issueReceipt,
  type Outcome,
  packTask,
  principal,
  putValue,
  type Stored,
  unpackTask,
  update,
} from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import pMap from 'p-map'
import type { Dependencies } from './dependencies.ts'
import { type AggregateRecord, markAccepted, markFailed, type Retries } from './domain/aggregate.ts'

type Parts = Pick<Dependencies, 'id' | 'stores' | 'queues' | 'aggregators' | 'timing' | 'batching' | 'now'>
type Failing = Pick<AggregateRecord, 'aggregate' | 'nonce' | 'aggregator' | 'group'>

/** Makes the tasks by which the pieces of a failed aggregate are tried again. */
const retriesOf = (id: Parts['id'], { aggregate, nonce: of, aggregator, group }: Failing) => {
  const audience = principal(aggregator)
  const nonce = Tasks.retryNonce({ aggregate: parseLink(aggregate) as unknown as PieceLink, nonce: of })
  return (piece: PieceLink): Promise<Task> => Tasks.pieceOffer(id, audience, { piece, group, nonce })
}

/** Bytes that a receipt has for a task beside its block: the CID in front of that, and the link to it. */
const LINKS = 80
/** Bytes that a receipt has beside these tasks: the pieces at fault, with a reason of 500 characters each, and the rest. */
const REST = 1_700_000

/** How many bytes the receipt of an aggregate with these pieces may have, should it fail. */
export const maxReceiptBytes = async (
  id: Parts['id'],
  failing: Failing,
  pieces: readonly PieceLink[],
): Promise<number> => {
  const longest = pieces.reduce(
    (a, b) => (b.byteLength > a.byteLength ? b : a),
    parseLink(failing.aggregate) as unknown as PieceLink,
  )
  const { bytes } = await retriesOf(id, failing)(longest)
  return REST + pieces.length * (bytes.byteLength + LINKS)
}

/**
 * The outcome of an aggregate that gets no deal: `InvalidPiece` where pieces are at fault, else `DealNotFound`. Every
 * other piece can be tried again: the dealer offers it to the aggregator once more, and says so in the effects.
 */
export const failureOutcome = async (
  id: Parts['id'],
  failing: Failing,
  pieces: readonly PieceLink[],
  { message, faults }: { message: string; faults: readonly InvalidPieceCID[] },
): Promise<Outcome> => {
  const aggregate = parseLink(failing.aggregate) as unknown as PieceLink
  const invalid = new Set(faults.map(({ piece }) => `${piece}`))
  const fork = await pMap(
    pieces.filter(piece => !invalid.has(`${piece}`)),
    retriesOf(id, failing),
    { concurrency: 100 },
  )
  const error: Failure =
    faults.length === 0
      ? failure('DealNotFound', message, { piece: aggregate })
      : failure('InvalidPiece', message, { aggregate, cause: [...faults] })
  return { out: { error }, fx: { fork } }
}

/** Keeps the tasks by which the pieces are tried again, in ranges. An aggregator that can not be called reads them in
 * the receipt. */
export const storeRetries = async (
  { stores, aggregators, batching }: Pick<Parts, 'stores' | 'aggregators' | 'batching'>,
  aggregator: string,
  { fx }: Pick<Receipt, 'fx'>,
): Promise<Retries> => {
  const ranges = await pMap(
    batchesOf(fx.fork as Task[], batching.rangePieces),
    async range => putValue(stores.blocks, await Promise.all(range.map(packTask))),
    { concurrency: 4 },
  )
  const peer = await aggregators.find(aggregator)
  return {
    retriesCid: await putValue(stores.blocks, ranges),
    rangesToRetry: peer?.reachable ? [...ranges.keys()] : [],
  }
}

/**
 * Ends an aggregate: files its receipt, and notes what the one says that is filed: another run may have been here before,
 * with another outcome. Then has the aggregator told, and the pieces of a failed aggregate offered again.
 */
export const settleAggregate = async (
  parts: Parts,
  record: Stored<AggregateRecord>,
  outcome: Outcome,
): Promise<void> => {
  const { id, stores, queues, timing, now } = parts
  const accept = await unpackTask(record.acceptTask as Uint8Array)
  const receipt = await stores.receipts.put(await issueReceipt(id, accept, outcome))
  const success = receipt.out.ok as { dataSource: { dealID: number } } | undefined
  if (success)
    await update(stores.aggregate, { id: record.id }, current =>
      markAccepted(current, Number(success.dataSource.dealID), now()),
    )
  else {
    const retries = await storeRetries(parts, record.aggregator, receipt)
    await update(stores.aggregate, { id: record.id }, current => markFailed(current, retries, now(), timing))
    await queues.retry.send(retries.rangesToRetry.map(range => ({ aggregate: record.id, range })))
  }
  await queues.conclude.send([{ to: record.aggregator, tasks: [`${receipt.ran.link()}`] }])
}
