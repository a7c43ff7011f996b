import type { DID, Invocation } from '@ucanto/interface'
import {
  type Failure,
  failure,
  MAX_GROUP_BYTES,
  type PieceLink,
  pieceOffer,
  type Result,
  Tasks,
} from '@w3filecoin/capabilities'
import { canHold, decodePiece } from '@w3filecoin/piece'
import { type Handler, issueReceipt, packTask, provide, type Stored, unpackTask } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { aggregateId } from '../domain/aggregate.ts'
import { MAX_ATTEMPTS, newPiece, type Offer, type PieceRecord, pieceId } from '../domain/piece.ts'
import { storefrontOf } from '../domain/storefront.ts'

type Capability = { with: DID; nb: { piece: { toString(): string }; group: string } }

/** A refusal; `final` where it will not be another one day, and is filed. */
interface Refusal extends Failure {
  final?: boolean
}

const refuse = (name: string, message: string, fields: object = {}): { error: Refusal } => ({
  error: failure(name, message, fields),
})

/**
 * `piece/offer`: notes the piece, and promises to tell which aggregate it is in. The same offer again finds the
 * record and gets the same promise. The dealer offers pieces of failed aggregates again; they go back to the
 * storefront and group that they came from.
 */
export const pieceOfferHandler = ({
  id,
  stores,
  queues,
  storefronts,
  dealer,
  limitsOf,
  timing,
  now,
}: Pick<
  Dependencies,
  'id' | 'stores' | 'queues' | 'storefronts' | 'dealer' | 'limitsOf' | 'timing' | 'now'
>): Handler => {
  /** What a storefront offers. */
  const newOffer = async (
    capability: Capability,
    invocation: Invocation,
  ): Promise<Result<Offer, Refusal>> => {
    const { group } = capability.nb
    const piece = capability.nb.piece as PieceLink
    const { paddedBytes } = limitsOf(group)
    // First of all: what is final is filed, and strangers have nothing filed.
    const storefront = await storefrontOf(capability.with, invocation, {
      self: id.did(),
      listed: storefronts,
    })
    if (storefront.error) return storefront
    const length = Buffer.byteLength(group)
    if (length > MAX_GROUP_BYTES)
      return refuse('InvalidGroup', `The group has ${length} bytes, at most ${MAX_GROUP_BYTES} are taken`)
    const decoded = decodePiece(piece)
    if (decoded.error) return { error: { ...decoded.error, final: true } }
    if (!canHold(piece, paddedBytes))
      return refuse(
        'InvalidPieceCID',
        `${piece} has ${decoded.ok.size} padded bytes; no aggregate of ${paddedBytes} can hold it`,
        { piece, final: true },
      )
    return {
      ok: {
        storefront: storefront.ok,
        group,
        piece: `${piece}`,
        size: decoded.ok.size,
        nonce: invocation.nonce,
      },
    }
  }

  /** What the dealer offers again. */
  const retryOffer = async ({ nb }: Capability, { nonce }: Invocation): Promise<Result<Offer, Refusal>> => {
    const piece = `${nb.piece}`
    const aggregate = await stores.aggregate.get({ id: aggregateId(Tasks.parseRetryNonce(nonce ?? '')) })
    if (aggregate === undefined || aggregate.group !== nb.group || aggregate.stage === 'accepted')
      return refuse('UnknownAggregate', `${nonce} is no aggregate of group ${nb.group} that failed`, {
        final: true,
      })
    const member = await stores.member.get({ aggregate: aggregate.id, piece })
    const record = member && (await stores.piece.get({ id: member.id }))
    if (record === undefined) {
      if (aggregate.rangesToInclude.length > 0)
        throw new Error(`${aggregate.aggregate} is still telling its pieces`)
      return refuse('InvalidPieceCID', `${piece} is not in ${aggregate.aggregate}`, {
        piece: nb.piece,
        final: true,
      })
    }
    const { storefront, group, size, attempt = 1 } = record
    if (attempt >= MAX_ATTEMPTS)
      return refuse('ProofNotFound', `${attempt} aggregates with ${piece} got no deal`, { final: true })
    return { ok: { storefront, group, piece, size, nonce, attempt: attempt + 1 } }
  }

  /** The record under the key, made if there is none. */
  const findOrInsert = async (offer: Offer, link: PieceLink, owner?: DID): Promise<Stored<PieceRecord>> => {
    const key = pieceId(offer, owner)
    const known = await stores.piece.get({ id: key })
    if (known) return known
    const accept = await Tasks.pieceAccept(id, { ...offer, piece: link, storefront: owner })
    const inserted = await stores.piece.insert(
      newPiece({ ...offer, id: key, acceptTask: await packTask(accept) }, now(), timing.retryMs),
    )
    return inserted.ok ?? inserted.error.record
  }

  return provide(
    pieceOffer,
    async ({ capability, invocation }) => {
      const piece = capability.nb.piece as PieceLink
      const retried = capability.with === dealer.did
      const offer = await (retried ? retryOffer : newOffer)(capability, invocation)
      if (offer.error) {
        const { final, ...error } = offer.error
        const out = { error }
        return final
          ? { filed: await stores.receipts.put(await issueReceipt(id, invocation, { out })) }
          : { out }
      }
      // Refused for good under other limits: that stands, and nobody wants a place for the piece.
      const filed = await stores.receipts.get(`${invocation.cid}`)
      if (filed?.out.error) return { filed }
      const { storefront } = offer.ok
      const first = await findOrInsert(offer.ok, piece)
      const record = first.storefront === storefront ? first : await findOrInsert(offer.ok, piece, storefront)
      if (record.stage === 'offered') await queues.piece.send([{ id: record.id }])
      return { out: { ok: { piece } }, fx: { join: await unpackTask(record.acceptTask) } }
    },
    { keep: true },
  )
}
