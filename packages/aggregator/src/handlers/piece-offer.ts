import type { DID } from '@ucanto/interface'
import { failure, type PieceLink, pieceOffer, Tasks } from '@w3filecoin/capabilities'
import { canHold, decodePiece } from '@w3filecoin/piece'
import { type Handler, packTask, provide, type Stored, unpackTask } from '@w3filecoin/service'
import type { Dependencies } from '../dependencies.ts'
import { type Offer, offered, type PieceRecord, pieceId } from '../domain/piece.ts'

/**
 * `piece/offer`: notes the piece, and promises to tell which aggregate it is in. The same offer again finds the
 * record and gets the same promise.
 */
export const pieceOfferHandler = ({
  id,
  stores,
  queues,
  storefronts,
  limitsOf,
  timing,
  now,
}: Pick<
  Dependencies,
  'id' | 'stores' | 'queues' | 'storefronts' | 'limitsOf' | 'timing' | 'now'
>): Handler => {
  /** The record under the key, made if there is none. */
  const noted = async (offer: Offer, link: PieceLink, owner?: DID): Promise<Stored<PieceRecord>> => {
    const key = pieceId(offer, owner)
    const known = await stores.pieces.get({ id: key })
    if (known) return known
    const accept = await Tasks.pieceAccept(id, { ...offer, piece: link, storefront: owner })
    const inserted = await stores.pieces.insert(
      offered({ ...offer, id: key, accept: await packTask(accept) }, now(), timing.retry),
    )
    return inserted.ok ?? inserted.error.record
  }

  return provide(
    pieceOffer,
    async ({ capability, invocation }) => {
      const { group } = capability.nb
      const piece = capability.nb.piece as PieceLink
      const decoded = decodePiece(piece)
      if (decoded.error) return { out: { error: decoded.error } }
      const { size } = limitsOf(group)
      if (!canHold(piece, size))
        return {
          out: {
            error: failure(
              'InvalidPieceCID',
              `${piece} has ${decoded.ok.size} padded bytes; no aggregate of ${size} can hold it`,
              { piece },
            ),
          },
        }
      // With our own DID the storefront holds a delegation, which has been checked; with its own it must be listed.
      const own = capability.with === id.did()
      const storefront = own ? invocation.issuer.did() : capability.with
      if (!own && !storefronts.has(storefront))
        return {
          out: { error: failure('UnknownStorefront', `${storefront} is no storefront of this aggregator`) },
        }

      const offer: Offer = {
        storefront: storefront as DID,
        group,
        piece: `${piece}`,
        size: decoded.ok.size,
        nonce: invocation.nonce,
      }
      const first = await noted(offer, piece)
      const record = first.storefront === storefront ? first : await noted(offer, piece, offer.storefront)
      if (record.stage === 'offered') await queues.piece.send([{ id: record.id }])
      return { out: { ok: { piece } }, fx: { join: await unpackTask(record.accept) } }
    },
    { keep: true },
  )
}
