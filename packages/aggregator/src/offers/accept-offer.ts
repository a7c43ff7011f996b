import type { DID, Invocation } from '@ucanto/interface'
import type { Failure, PieceLink, Result } from '@w3filecoin/capabilities'
import { type Filed, issueReceipt, type Outcome, type Stored } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import type { PieceRecord } from '../domain/piece.ts'
import { identifyStorefront } from '../domain/storefront.ts'
import type { EnqueueDependencies } from './enqueue-piece.ts'
import { offerPiece } from './offer-piece.ts'
import { type Refusal, refuse } from './refusal.ts'
import { retryPiece } from './retry-piece.ts'

export type OfferDependencies = EnqueueDependencies &
  Pick<Dependencies, 'storefronts' | 'bounds' | 'dealer' | 'limitsOf'>

/** An invocation that offers a piece, in any vocabulary. */
export interface OfferedPiece {
  resource: DID
  piece: PieceLink
  group: string
  /** The storefront that the arguments name, if the vocabulary has it there. It must be the one that offers. */
  named?: string | undefined
  invocation: Invocation
  /** The message with the invocation. All offers of one message have the same object. */
  message: object
}

/**
 * Accepts the offer of a piece from a storefront: see `offerPiece`. If the resource is the dealer, the offer retries a piece
 * of a failed aggregate.
 */
export const acceptOffer = async (
  dependencies: OfferDependencies,
  { resource, piece, group, named, invocation, message }: OfferedPiece,
): Promise<Result<Stored<PieceRecord>, Refusal>> => {
  const { id, stores, storefronts, dealer } = dependencies
  const { nonce } = invocation
  const isRetry = resource === dealer.did
  // Authorize first: final refusals are stored, and strangers must not be able to fill the table.
  const storefront = isRetry
    ? undefined
    : await identifyStorefront(resource, invocation, { self: id, listed: storefronts })
  if (storefront?.error) return storefront
  if (named !== undefined && named !== storefront?.ok)
    return refuse(
      'StorefrontMismatch',
      `The offer is authorized by ${storefront?.ok ?? resource}, but names the storefront ${named}`,
    )
  // A refusal issued under earlier limits is final; do not enqueue the piece.
  const earlier = (await stores.receipts.get(`${invocation.cid}`))?.out.error as Failure | undefined
  if (earlier) return { error: { ...earlier, final: true } }
  return storefront
    ? offerPiece(dependencies, { piece, storefront: storefront.ok, group, nonce }, message)
    : retryPiece(dependencies, { piece, group, nonce }, message)
}

/** Stores a final refusal of an offer, and returns its outcome. */
export const refuseOffer = async (
  { id, stores }: Pick<Dependencies, 'id' | 'stores'>,
  invocation: Invocation,
  { final, ...error }: Refusal,
): Promise<Outcome | Filed> => {
  const out = { error }
  return final ? { filed: await stores.receipts.put(await issueReceipt(id, invocation, { out })) } : { out }
}
