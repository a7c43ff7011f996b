import { code as CBOR, decode } from '@ipld/dag-cbor'
import type { DID } from '@ucanto/interface'
import {
  aggregateOffer,
  type Failure,
  failure,
  type PieceLink,
  type Result,
  Tasks,
} from '@w3filecoin/capabilities'
import { recompute } from '@w3filecoin/piece'
import { type Handler, packTask, provide, type Stored, unpackTask } from '@w3filecoin/service'
import { isLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import { type AggregateRecord, aggregateId, offered } from '../domain/aggregate.ts'
import { documentName, tenantOf } from '../domain/offer-document.ts'

/**
 * `aggregate/offer`: checks that the pieces make the aggregate, hands it to deal making, and promises to tell of a
 * deal. The same offer again finds the record and gets the same promise; with another nonce it is processed anew.
 */
export const aggregateOfferHandler = ({
  id,
  stores,
  aggregators,
  timing,
  now,
}: Pick<Dependencies, 'id' | 'stores' | 'aggregators' | 'timing' | 'now'>): Handler =>
  provide(
    aggregateOffer,
    async ({ capability, invocation }) => {
      const aggregate = capability.nb.aggregate as PieceLink
      const { pieces } = capability.nb
      // With our own DID the aggregator holds a delegation, which has been checked; with its own it must be listed.
      const own = capability.with === id.did()
      const aggregator = (own ? invocation.issuer.did() : capability.with) as DID
      if (!own && !aggregators.has(aggregator))
        return {
          out: { error: failure('UnknownAggregator', `${aggregator} is no aggregator of this dealer`) },
        }

      const key = aggregateId({ aggregate: `${aggregate}`, nonce: invocation.nonce })
      const promise = async (record: Stored<AggregateRecord>) => ({
        out: { ok: { aggregate } },
        fx: { join: await unpackTask(record.accept) },
      })
      const known = await stores.aggregates.get({ id: key })
      if (known?.pieces === `${pieces}`) return promise(known)

      const block = [...invocation.iterateIPLDBlocks()].find(({ cid }) => `${cid}` === `${pieces}`)
      const checked = checkPieces(block?.bytes, aggregate)
      if (checked.error) return { out: { error: checked.error } }

      const accept = await Tasks.aggregateAccept(id, { aggregate, pieces, nonce: invocation.nonce })
      const record = offered(
        {
          aggregate: `${aggregate}`,
          pieces: `${pieces}`,
          nonce: invocation.nonce,
          aggregator,
          accept: await packTask(accept),
        },
        now(),
        timing,
      )
      const { storefront, group, label } = tenantOf(invocation.facts as Record<string, unknown>[], aggregator)
      await stores.blocks.put(block?.bytes as Uint8Array, CBOR)
      await stores.offers.put(documentName(record), {
        aggregate: record.aggregate,
        pieces: checked.ok.map(piece => `${piece}`),
        collection: group,
        tenant: storefront,
        group,
        label,
        orderID: record.offeredAt,
      })
      const inserted = await stores.aggregates.insert(record)
      return promise(inserted.ok ?? inserted.error.record)
    },
    { keep: true },
  )

/** The pieces, if in their order they make the aggregate. Fails with `InvalidPiece`, naming the pieces at fault. */
const checkPieces = (bytes: Uint8Array | undefined, aggregate: PieceLink): Result<PieceLink[], Failure> => {
  const invalid = (message: string, cause: readonly object[] = []) => ({
    error: failure('InvalidPiece', message, { aggregate, cause: [...cause] }),
  })
  if (bytes === undefined) return invalid('The block with the list of pieces must travel with the invocation')
  let pieces: PieceLink[]
  try {
    pieces = decode(bytes as never)
  } catch (cause) {
    return invalid(`The block of pieces is no DAG-CBOR: ${(cause as Error).message}`)
  }
  if (!Array.isArray(pieces) || !pieces.every(isLink))
    return invalid('The block of pieces holds no list of links')
  const computed = recompute(pieces, aggregate)
  if (computed.error)
    return invalid(computed.error.message, computed.error.name === 'InvalidPiece' ? computed.error.cause : [])
  return `${computed.ok}` === `${aggregate}`
    ? { ok: pieces }
    : invalid(`The pieces make the aggregate ${computed.ok}, not ${aggregate}`)
}
