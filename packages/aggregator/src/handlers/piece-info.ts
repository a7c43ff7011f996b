import { failure, type PieceInfoSuccess, type PieceLink, pieceInfo } from '@w3filecoin/capabilities'
import { capacityOf } from '@w3filecoin/piece'
import { type Handler, provide, type Stored } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import { groupId, type PieceRecord, pieceId } from '../domain/piece.ts'
import { storefrontOf } from '../domain/storefront.ts'

type Parts = Pick<Dependencies, 'id' | 'stores' | 'storefronts' | 'limitsOf'>

/** `piece/info`: the aggregate that a piece is in, or how far the next one of its group is. */
export const pieceInfoHandler = (parts: Parts): Handler => {
  const { id, stores, storefronts } = parts
  return provide(pieceInfo, async ({ capability, invocation }) => {
    const storefront = await storefrontOf(capability.with, invocation, {
      self: id.did(),
      listed: storefronts,
    })
    if (storefront.error) return { out: { error: storefront.error } }
    const { group, nonce } = capability.nb
    const piece = capability.nb.piece as PieceLink
    const offer = { group, piece: `${piece}`, nonce }
    const first = await stores.piece.get({ id: pieceId(offer) })
    const record =
      first?.storefront === storefront.ok
        ? first
        : await stores.piece.get({ id: pieceId(offer, storefront.ok) })
    if (record === undefined)
      return {
        out: { error: failure('PieceNotFound', `${storefront.ok} did not offer ${piece}`, { piece }) },
      }
    const found = record.aggregateId === undefined ? await next(parts, record) : await current(parts, record)
    const success: PieceInfoSuccess = { piece, ...found }
    return { out: { ok: success } }
  })
}

const next = async (
  { stores, limitsOf }: Parts,
  { storefront, group, offeredAt }: Stored<PieceRecord>,
): Promise<Pick<PieceInfoSuccess, 'next'>> => {
  const { paddedBytes, minPaddedBytes, maxWaitMs } = limitsOf(group)
  const tally = await stores.tally.get({ id: groupId({ storefront, group }) })
  return {
    next: {
      pieces: Math.max(tally?.pieces ?? 0, 0),
      bytes: Math.max(tally?.bytes ?? 0, 0),
      capacity: capacityOf(paddedBytes),
      minimum: minPaddedBytes,
      sealedBy: new Date(offeredAt + maxWaitMs).toISOString(),
    },
  }
}

const current = async (
  { stores }: Parts,
  { aggregateId }: Stored<PieceRecord>,
): Promise<Pick<PieceInfoSuccess, 'aggregate'>> => {
  const record = await stores.aggregate.get({ id: aggregateId as string })
  if (record === undefined) return {}
  const { aggregate, stage, sealedAt } = record
  return {
    aggregate: {
      aggregate: parseLink(aggregate) as unknown as PieceLink,
      stage,
      sealed: new Date(sealedAt).toISOString(),
    },
  }
}
