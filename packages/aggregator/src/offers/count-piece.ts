import type { DID } from '@ucanto/interface'
import type { Failure } from '@w3filecoin/capabilities'
import type { Dependencies } from '../dependencies.ts'
import { pieceId } from '../domain/piece.ts'
import { findExcess, quotaExpiry, quotaKey } from '../domain/quota.ts'

/**
 * Counts a new piece of a storefront that has a bound. Call it before the piece is recorded: a run that is killed in between
 * counts one too many. A repeated offer is not counted, and neither is one that is refused.
 *
 * @returns the refusal if the bound is exceeded: `TooManyPieces`
 */
export const countPiece = async (
  { stores, bounds, now }: Pick<Dependencies, 'stores' | 'bounds' | 'now'>,
  offer: { piece: string; storefront: DID; group: string; nonce?: string | undefined },
): Promise<Failure | undefined> => {
  const { storefront } = offer
  const bound = await bounds.find(storefront)
  if (bound?.piecesPerDay === undefined) return undefined
  const keys = [pieceId(offer), pieceId(offer, storefront)].map(id => ({ id }))
  const known = await stores.piece.getMany(keys)
  if (known.some(record => record?.storefront === storefront)) return undefined
  const time = now()
  const key = quotaKey(storefront, time)
  const { pieces = 0 } = (await stores.quota.get(key)) ?? {}
  const excess = findExcess(pieces + 1, bound, time)
  if (excess) return excess
  const counted = await stores.quota.add(key, { pieces: 1 }, { expiresAt: quotaExpiry(time) })
  return findExcess(counted.pieces, bound, time)
}
