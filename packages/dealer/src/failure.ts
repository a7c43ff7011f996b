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
} from '@w3filecoin/service'
import { parse as parseLink } from 'multiformats/link'
import pMap from 'p-map'
import type { Dependencies } from './dependencies.ts'
import { type AggregateRecord, accepted, failed, type Retries } from './domain/aggregate.ts'

type Parts = Pick<Dependencies, 'id' | 'stores' | 'queues' | 'aggregators' | 'timing' | 'sizes' | 'now'>

/**
 * The outcome of an aggregate that gets no deal: `InvalidPiece` where pieces are at fault, else `DealNotFound`. Every
 * other piece can be tried again: the dealer offers it to the aggregator once more, and says so in the effects.
 */
export const failedOutcome = async (
  id: Parts['id'],
  {
    aggregate,
    nonce,
    aggregator,
    group,
  }: Pick<AggregateRecord, 'aggregate' | 'nonce' | 'aggregator' | 'group'>,
  pieces: readonly PieceLink[],
  { message, faults }: { message: string; faults: readonly InvalidPieceCID[] },
): Promise<Outcome> => {
  const link = parseLink(aggregate) as unknown as PieceLink
  const invalid = new Set(faults.map(({ piece }) => `${piece}`))
  const audience = principal(aggregator)
  const fork = await pMap(
    pieces.filter(piece => !invalid.has(`${piece}`)),
    piece =>
      Tasks.pieceOffer(id, audience, { piece, group, nonce: Tasks.retryNonce({ aggregate: link, nonce }) }),
    { concurrency: 100 },
  )
  const error: Failure =
    faults.length === 0
      ? failure('DealNotFound', message, { piece: link })
      : failure('InvalidPiece', message, { aggregate: link, cause: [...faults] })
  return { out: { error }, fx: { fork } }
}

/** Keeps the tasks by which the pieces are tried again, in ranges. An aggregator that can not be called reads them in
 * the receipt. */
export const keepRetries = async (
  { stores, aggregators, sizes }: Pick<Parts, 'stores' | 'aggregators' | 'sizes'>,
  aggregator: string,
  { fx }: Pick<Receipt, 'fx'>,
): Promise<Retries> => {
  const ranges = await pMap(
    batchesOf(fx.fork as Task[], sizes.range),
    async range => putValue(stores.blocks, await Promise.all(range.map(packTask))),
    { concurrency: 4 },
  )
  return {
    retries: await putValue(stores.blocks, ranges),
    openRanges: aggregators.get(aggregator)?.reachable ? [...ranges.keys()] : [],
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
  const accept = await unpackTask(record.accept as Uint8Array)
  const receipt = await stores.receipts.put(await issueReceipt(id, accept, outcome))
  const success = receipt.out.ok as { dataSource: { dealID: number } } | undefined
  if (success)
    await update(stores.aggregates, { id: record.id }, current =>
      accepted(current, Number(success.dataSource.dealID), now()),
    )
  else {
    const retries = await keepRetries(parts, record.aggregator, receipt)
    await update(stores.aggregates, { id: record.id }, current => failed(current, retries, now(), timing))
    await queues.retry.send(retries.openRanges.map(range => ({ aggregate: record.id, range })))
  }
  await queues.conclude.send([{ to: record.aggregator, tasks: [`${receipt.ran.link()}`] }])
}
