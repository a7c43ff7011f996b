import type { DID } from '@ucanto/interface'
import { parsePieceLink, Tasks } from '@w3filecoin/capabilities'
import { packTask, type Stored } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { newPiece, type Offer, type PieceRecord, pieceId } from '../domain/piece.ts'
import type { ListPiece } from './list-pieces.ts'

export type EnqueueDependencies = Pick<Dependencies, 'id' | 'stores' | 'now'> & { list: ListPiece }

/**
 * Adds a piece to its storefront's group, under its nonce and attempt. Returns the record, which contains the promised
 * `piece/accept`. A repeated offer returns the existing record.
 *
 * @param message the message that the offer is from: see {@link ListPiece}
 */
export const enqueuePiece = async (
  dependencies: EnqueueDependencies,
  offer: Offer,
  message: object,
): Promise<Stored<PieceRecord>> => {
  const first = await insertPiece(dependencies, offer)
  const offered =
    first.record.storefront === offer.storefront
      ? first
      : await insertPiece(dependencies, offer, offer.storefront)
  // Also if the record exists: the run that inserted it may have ended before the piece was in the list.
  if (offered.record.stage === 'pending') await dependencies.list(message, offered)
  return offered.record
}

/**
 * Inserts the record of a piece, or returns the existing one. Repeated offers are rare, so no read precedes the write.
 *
 * @param owner set if another storefront offered the piece first: see {@link pieceId}
 */
const insertPiece = async (
  { id, stores, now }: Pick<Dependencies, 'id' | 'stores' | 'now'>,
  offer: Offer,
  owner?: DID,
): Promise<{ record: Stored<PieceRecord>; isNew: boolean }> => {
  const accept = await Tasks.pieceAccept(id, {
    ...offer,
    piece: parsePieceLink(offer.piece),
    storefront: owner,
  })
  const inserted = await stores.piece.insert(
    newPiece({ ...offer, id: pieceId(offer, owner), acceptTask: await packTask(accept) }, now()),
  )
  return inserted.ok ? { record: inserted.ok, isNew: true } : { record: inserted.error.record, isNew: false }
}
