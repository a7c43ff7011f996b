import { failure, type PieceInfoSuccess, parsePieceLink, pieceInfo } from '@w3filecoin/capabilities'
import { capacityOf } from '@w3filecoin/piece'
import { type Handler, isFromWrongClock, provide, type Stored } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import type { AggregateStage } from '../domain/aggregate.ts'
import { groupId, type PieceRecord, pieceId } from '../domain/piece.ts'
import { identifyStorefront } from '../domain/storefront.ts'

/** The names of the stages on the wire. */
const WIRE_STAGE: Record<AggregateStage, NonNullable<PieceInfoSuccess['aggregate']>['stage']> = {
  sealed: 'sealed',
  offered: 'offered',
  accepted: 'accepted',
  failed: 'failed',
}

/** `piece/info`: returns the aggregate of a piece, or how full the next aggregate of its group is. */
export const pieceInfoHandler = (
  dependencies: Pick<Dependencies, 'id' | 'stores' | 'storefronts' | 'limitsOf' | 'now'>,
): Handler => {
  const { id, stores, storefronts } = dependencies
  return provide(pieceInfo, async ({ capability, invocation }) => {
    const storefront = await identifyStorefront(capability.with, invocation, {
      self: id,
      listed: storefronts,
    })
    if (storefront.error) return { out: { error: storefront.error } }
    const { piece, group, nonce } = capability.nb
    const offer = { group, piece: `${piece}`, nonce }
    const first = await stores.piece.get({ id: pieceId(offer) })
    const record =
      first?.storefront === storefront.ok
        ? first
        : await stores.piece.get({ id: pieceId(offer, storefront.ok) })
    if (record === undefined)
      return {
        out: {
          error: failure(
            'RecordNotFound',
            `${storefront.ok} did not offer ${piece} in the group ${group}${nonce === undefined ? '' : ` with the nonce ${nonce}`}`,
            { piece },
          ),
        },
      }
    const success: PieceInfoSuccess = { piece, ...(await locate(dependencies, record)) }
    return { out: { ok: success } }
  })
}

type Location = Omit<PieceInfoSuccess, 'piece'>

const locate = async (
  dependencies: Pick<Dependencies, 'stores' | 'limitsOf' | 'now'>,
  record: Stored<PieceRecord>,
): Promise<Location> => {
  switch (record.stage) {
    case 'offered':
    case 'pending':
      return { next: await describeNextAggregate(dependencies, record) }
    case 'included':
      return describeAggregate(dependencies, record)
  }
}

const describeNextAggregate = async (
  { stores, limitsOf, now }: Pick<Dependencies, 'stores' | 'limitsOf' | 'now'>,
  { storefront, group, offeredAt }: Stored<PieceRecord>,
): Promise<NonNullable<Location['next']>> => {
  const { paddedBytes, minPaddedBytes, maxWaitMs } = limitsOf(group)
  const tally = await stores.tally.get({ id: groupId({ storefront, group }) })
  const bytes = Math.max(tally?.bytes ?? 0, 0)
  const sealedBy = (isFromWrongClock(offeredAt, now()) ? now() : offeredAt) + maxWaitMs
  const sealedByText = new Date(sealedBy).toISOString()
  return {
    pieces: Math.max(tally?.pieces ?? 0, 0),
    bytes,
    capacity: capacityOf(paddedBytes),
    minimum: minPaddedBytes,
    sealedBy: sealedByText,
    ...(bytes < minPaddedBytes && sealedBy <= now() && { belowMinimumSince: sealedByText }),
  }
}

const describeAggregate = async (
  { stores }: Pick<Dependencies, 'stores'>,
  { aggregateId }: Stored<PieceRecord>,
): Promise<Location> => {
  const record = await stores.aggregate.get({ id: aggregateId as string })
  if (record === undefined) return {}
  const { aggregate, stage, sealedAt } = record
  return {
    aggregate: {
      aggregate: parsePieceLink(aggregate),
      stage: WIRE_STAGE[stage],
      sealed: new Date(sealedAt).toISOString(),
    },
  }
}
