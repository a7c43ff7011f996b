import { type PieceLink, type Result, Tasks } from '@w3filecoin/capabilities'
import type { Stored } from '@w3filecoin/runtime'
import { aggregateId, mayRetry } from '../domain/aggregate.ts'
import { MAX_ATTEMPTS, type PieceRecord } from '../domain/piece.ts'
import { findMember } from '../sealing/members.ts'
import { type EnqueueDependencies, enqueuePiece } from './enqueue-piece.ts'
import { type Refusal, refuse } from './refusal.ts'

/** A piece of a failed aggregate that the dealer offers again. */
export interface PieceRetry {
  piece: PieceLink
  group: string
  /** Names the failed aggregate: see `Tasks.retryNonce`. */
  nonce: string | undefined
}

/**
 * Returns a piece of a failed aggregate to the storefront and group that it came from, ahead of newer pieces. The
 * caller has checked that the dealer authorized it.
 */
export const retryPiece = async (
  dependencies: EnqueueDependencies,
  retry: PieceRetry,
  message: object,
): Promise<Result<Stored<PieceRecord>, Refusal>> => {
  const { stores } = dependencies
  const { group, nonce } = retry
  const piece = `${retry.piece}`
  const aggregate = await stores.aggregate.get({ id: aggregateId(Tasks.parseRetryNonce(nonce ?? '')) })
  if (aggregate === undefined || aggregate.group !== group || !mayRetry(aggregate))
    return refuse(
      'UnknownAggregate',
      nonce === undefined
        ? 'The dealer offers a piece again with the CID of its failed aggregate as the nonce, and this offer has no nonce'
        : `The nonce ${nonce} does not name a failed aggregate of group ${group}`,
      {
        final: true,
      },
    )
  const member = await findMember(stores, aggregate, piece)
  const record = member && (await stores.piece.get({ id: member }))
  if (!record) {
    // An aggregate of earlier code: until every range is included, the piece may be in one whose members are not recorded yet.
    if (aggregate.memberShards === undefined && aggregate.rangesToInclude.length > 0)
      throw new Error(
        `Some pieces of ${aggregate.aggregate} have no receipts yet, so ${piece} cannot be retried. Retry it later`,
      )
    return refuse('InvalidPieceCID', `${piece} is not in ${aggregate.aggregate}`, {
      piece: retry.piece,
      final: true,
    })
  }
  const { attempt = 1, storefront, size } = record
  if (attempt >= MAX_ATTEMPTS)
    return refuse('ProofNotFound', `${piece} was in ${attempt} aggregates, and none of them got a deal`, {
      final: true,
    })
  return {
    ok: await enqueuePiece(
      dependencies,
      { storefront, group: record.group, piece, size, nonce, attempt: attempt + 1 },
      message,
    ),
  }
}
