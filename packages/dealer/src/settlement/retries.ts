import type { Receipt, Signer } from '@ucanto/interface'
import { type PieceLink, parsePieceLink, type Task, Tasks } from '@w3filecoin/capabilities'
import { batchesOf, packTask, principal, putValue } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import type { AggregateRecord, Retries } from '../domain/aggregate.ts'

/** The fields of a failed aggregate that its retries depend on. */
export type FailedAggregate = Pick<AggregateRecord, 'aggregate' | 'nonce' | 'aggregator' | 'group'>

/** Returns a function that creates the `piece/offer` by which a piece of the failed aggregate is retried. */
export const createRetries = (id: Signer, { aggregate, nonce, aggregator, group }: FailedAggregate) => {
  const audience = principal(aggregator)
  const retryNonce = Tasks.retryNonce({ aggregate: parsePieceLink(aggregate), nonce })
  return (piece: PieceLink): Promise<Task> =>
    Tasks.pieceOffer(id, audience, { piece, group, nonce: retryNonce })
}

/**
 * Stores the retries in a receipt of a failed aggregate, in ranges. If no URL of the aggregator is known,
 * no range is sent: the aggregator reads the retries in the receipt.
 */
export const storeRetries = async (
  { stores, aggregators, batching }: Pick<Dependencies, 'stores' | 'aggregators' | 'batching'>,
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

/** Sends the `retry` messages of a failed aggregate. */
export const sendRetries = (
  { queues }: Pick<Dependencies, 'queues'>,
  id: string,
  { rangesToRetry }: Retries,
): Promise<void> => queues.retry.send(rangesToRetry.map(range => ({ aggregate: id, range })))
