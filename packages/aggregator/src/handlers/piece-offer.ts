import type { DID, Invocation } from '@ucanto/interface'
import { type Failure, type PieceLink, pieceOffer, type Result } from '@w3filecoin/capabilities'
import { type Handler, issueReceipt, provide, type Stored, unpackTask } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import type { PieceRecord } from '../domain/piece.ts'
import { identifyStorefront } from '../domain/storefront.ts'
import { offerPiece } from '../offers/offer-piece.ts'
import type { Refusal } from '../offers/refusal.ts'
import { retryPiece } from '../offers/retry-piece.ts'

/**
 * `piece/offer`: adds a piece to its group, and promises the `piece/accept` that will name its aggregate. A repeated
 * offer gets the same promise. If the resource is the dealer, the offer retries a piece of a failed aggregate.
 */
export const pieceOfferHandler = (
  dependencies: Pick<
    Dependencies,
    'id' | 'stores' | 'queues' | 'storefronts' | 'dealer' | 'limitsOf' | 'timing' | 'now'
  >,
): Handler => {
  const { id, stores, storefronts, dealer } = dependencies

  const enqueue = async (
    capability: { with: DID; nb: { piece: PieceLink; group: string } },
    invocation: Invocation,
  ): Promise<Result<Stored<PieceRecord>, Refusal>> => {
    const { piece, group } = capability.nb
    const { nonce } = invocation
    const isRetry = capability.with === dealer.did
    // Authorize first: final refusals are stored, and strangers must not be able to fill the table.
    const storefront = isRetry
      ? undefined
      : await identifyStorefront(capability.with, invocation, { self: id, listed: storefronts })
    if (storefront?.error) return storefront
    // A refusal issued under earlier limits is final; do not enqueue the piece.
    const earlier = (await stores.receipts.get(`${invocation.cid}`))?.out.error as Failure | undefined
    if (earlier) return { error: { ...earlier, final: true } }
    return storefront
      ? offerPiece(dependencies, { piece, storefront: storefront.ok, group, nonce })
      : retryPiece(dependencies, { piece, group, nonce })
  }

  return provide(
    pieceOffer,
    async ({ capability, invocation }) => {
      const { ok: record, error: refusal } = await enqueue(capability, invocation)
      if (refusal) {
        const { final, ...error } = refusal
        const out = { error }
        return final
          ? { filed: await stores.receipts.put(await issueReceipt(id, invocation, { out })) }
          : { out }
      }
      return {
        out: { ok: { piece: capability.nb.piece } },
        fx: { join: await unpackTask(record.acceptTask) },
      }
    },
    { keep: true },
  )
}
