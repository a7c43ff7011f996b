import type { DID } from '@ucanto/interface'
import { parsePieceLink, Tasks } from '@w3filecoin/capabilities'
import { packTask, type Stored } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { canBecome, newPiece, type Offer, type PieceRecord, pieceId } from '../domain/piece.ts'

/**
 * Adds a piece to its storefront's group, under its nonce and attempt. Returns the record, which contains the promised
 * `piece/accept`. A repeated offer returns the existing record.
 */
export const enqueuePiece = async (
  dependencies: Pick<Dependencies, 'id' | 'stores' | 'queues' | 'timing' | 'now'>,
  offer: Offer,
): Promise<Stored<PieceRecord>> => {
  const first = await findOrInsert(dependencies, offer)
  const record =
    first.storefront === offer.storefront ? first : await findOrInsert(dependencies, offer, offer.storefront)
  if (canBecome(record, 'pending')) await dependencies.queues.piece.send([{ id: record.id }])
  return record
}

/** @param owner set if another storefront offered the piece first: see {@link pieceId} */
const findOrInsert = async (
  { id, stores, timing, now }: Pick<Dependencies, 'id' | 'stores' | 'timing' | 'now'>,
  offer: Offer,
  owner?: DID,
): Promise<Stored<PieceRecord>> => {
  const key = pieceId(offer, owner)
  const known = await stores.piece.get({ id: key })
  if (known) return known
  const accept = await Tasks.pieceAccept(id, {
    ...offer,
    piece: parsePieceLink(offer.piece),
    storefront: owner,
  })
  const inserted = await stores.piece.insert(
    newPiece({ ...offer, id: key, acceptTask: await packTask(accept) }, now(), timing.retryMs),
  )
  return inserted.ok ?? inserted.error.record
}
