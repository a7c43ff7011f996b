import type { DID } from '@ucanto/interface'
import { MAX_GROUP_BYTES, type PieceLink, type Result } from '@w3filecoin/capabilities'
import { canHold, decodePiece } from '@w3filecoin/piece'
import type { Stored } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import type { PieceRecord } from '../domain/piece.ts'
import { countPiece } from './count-piece.ts'
import { type EnqueueDependencies, enqueuePiece } from './enqueue-piece.ts'
import { type Refusal, refuse } from './refusal.ts'

/** A piece that a storefront wants to be in an aggregate. */
export interface PieceOffer {
  piece: PieceLink
  storefront: DID
  group: string
  nonce?: string | undefined
}

/** Offers a piece for a storefront and group, once it is checked. The caller has authorized the storefront. */
export const offerPiece = async (
  dependencies: EnqueueDependencies & Pick<Dependencies, 'bounds' | 'limitsOf'>,
  { piece, storefront, group, nonce }: PieceOffer,
  message: object,
): Promise<Result<Stored<PieceRecord>, Refusal>> => {
  const groupBytes = Buffer.byteLength(group)
  if (groupBytes > MAX_GROUP_BYTES)
    return refuse(
      'InvalidGroup',
      `The group has ${groupBytes} bytes. Use a name of at most ${MAX_GROUP_BYTES} bytes`,
    )
  const decoded = decodePiece(piece)
  if (decoded.error) return { error: { ...decoded.error, final: true } }
  const { size } = decoded.ok
  const { paddedBytes } = dependencies.limitsOf(group)
  if (!canHold(piece, paddedBytes))
    return refuse(
      'InvalidPieceCID',
      `${piece} has ${size} padded bytes, and an aggregate of ${paddedBytes} padded bytes cannot contain it. Offer smaller pieces`,
      { piece, final: true },
    )
  const offer = { storefront, group, piece: `${piece}`, size, nonce }
  const excess = await countPiece(dependencies, offer)
  return excess ? { error: excess } : { ok: await enqueuePiece(dependencies, offer, message) }
}
