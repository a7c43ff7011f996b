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
import { type InvalidPieceCID, recompute } from '@w3filecoin/piece'
import {
  getValue,
  type Handler,
  issueReceipt,
  MAX_RECEIPT_BYTES,
  outcomeOf,
  packTask,
  provide,
  type Stored,
  unpackTask,
} from '@w3filecoin/runtime'
import { isLink, parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import {
  type AggregateRecord,
  aggregateId,
  MAX_FAULTS,
  MAX_REFUSED,
  markFailed,
  newAggregate,
} from '../domain/aggregate.ts'
import { documentName, documentOf, tenantOf } from '../domain/offer-document.ts'
import { failureOutcome, maxReceiptBytes, storeRetries } from '../failure.ts'

/**
 * `aggregate/offer`: checks that the pieces make the aggregate, hands it to deal making, and promises to tell of a
 * deal. The same offer again finds the record and gets the same promise; with another nonce it is processed anew. An
 * aggregate with pieces at fault has failed at once: the receipt names them, and the others are offered again. One of so
 * many pieces that a request can not do that is refused without a receipt that is kept, for people to look at.
 */
export const aggregateOfferHandler = (
  parts: Pick<
    Dependencies,
    'id' | 'stores' | 'queues' | 'offerDocuments' | 'aggregators' | 'timing' | 'batching' | 'now'
  >,
): Handler => {
  const { id, stores, queues, offerDocuments, aggregators, timing, now } = parts

  /** What the record of an offer promised, or why it was refused. */
  const answer = async ({ aggregate, acceptTask, refusedOfferCid }: Stored<AggregateRecord>) => {
    const refusal = refusedOfferCid === undefined ? undefined : await stores.receipts.get(refusedOfferCid)
    if (refusal) return outcomeOf(refusal)
    return {
      out: { ok: { aggregate: parseLink(aggregate) as unknown as PieceLink } },
      fx: { join: await unpackTask(acceptTask as Uint8Array) },
    }
  }

  const handOver = (record: AggregateRecord, pieces: readonly PieceLink[]): Promise<void> =>
    offerDocuments.put(documentName(record), documentOf(record, pieces))

  return provide(
    aggregateOffer,
    async ({ capability, invocation }) => {
      const aggregate = capability.nb.aggregate as PieceLink
      const { pieces } = capability.nb
      // With our own DID the aggregator holds a delegation, which has been checked; with its own it must be listed.
      const own = capability.with === id.did()
      const aggregator = (own ? invocation.issuer.did() : capability.with) as DID
      if (!own && !(await aggregators.find(aggregator)))
        return {
          out: { error: failure('UnknownAggregator', `${aggregator} is no aggregator of this dealer`) },
        }

      const key = aggregateId({ aggregate: `${aggregate}`, piecesCid: `${pieces}`, nonce: invocation.nonce })
      const known = await stores.aggregate.get({ id: key })
      if (known) {
        // Cut short after the record, the document is still to be written.
        if (known.stage === 'offered' && !(await stores.receipts.get(`${invocation.cid}`)))
          await handOver(known, await getValue<PieceLink[]>(stores.blocks, known.piecesCid))
        return answer(known)
      }

      const block = [...invocation.iterateIPLDBlocks()].find(({ cid }) => `${cid}` === `${pieces}`)
      const checked = checkPieces(block?.bytes, aggregate)
      const offer = {
        aggregate: `${aggregate}`,
        piecesCid: `${pieces}`,
        nonce: invocation.nonce,
        aggregator,
        ...tenantOf(invocation.facts as Record<string, unknown>[], aggregator),
      }
      if (checked.error && checked.error.cause.length === 0)
        return { out: { error: failure('InvalidPiece', checked.error.message, { aggregate, cause: [] }) } }
      const listed = checked.ok ?? checked.error.pieces
      const most = await maxReceiptBytes(id, offer, listed)
      if (most > MAX_RECEIPT_BYTES) {
        const message = `Should ${aggregate} fail, its receipt may have ${most} bytes, of ${MAX_RECEIPT_BYTES} that are read: offer fewer pieces, or a shorter group or nonce`
        return { out: { error: failure('AggregateTooLarge', message) } }
      }
      if (checked.error) {
        const { message, cause } = checked.error
        if (cause.length > MAX_FAULTS || listed.length > MAX_REFUSED) {
          const why = `${message}: too many to name these and try the others again`
          return { out: { error: failure('InvalidPiece', why, { aggregate, cause: [] }) } }
        }
        const outcome = await failureOutcome(id, offer, listed, { message, faults: cause })
        const filed = await stores.receipts.put(await issueReceipt(id, invocation, outcome))
        const retries = await storeRetries(parts, aggregator, filed)
        const record = newAggregate({ ...offer, refusedOfferCid: `${invocation.cid}` }, now(), timing)
        await stores.aggregate.insert(markFailed(record, retries, now(), timing) as AggregateRecord)
        await queues.retry.send(retries.rangesToRetry.map(range => ({ aggregate: key, range })))
        return { filed }
      }

      const accept = await Tasks.aggregateAccept(id, { aggregate, pieces, nonce: invocation.nonce })
      const record = newAggregate({ ...offer, acceptTask: await packTask(accept) }, now(), timing)
      await stores.blocks.put(block?.bytes as Uint8Array, CBOR)
      const inserted = await stores.aggregate.insert(record)
      const noted = inserted.ok ?? inserted.error.record
      // After the record: whoever reads the document may report on it at once.
      if (noted.stage === 'offered') await handOver(noted, checked.ok)
      return answer(noted)
    },
    { keep: true },
  )
}

interface InvalidPieces extends Failure {
  /** The pieces at fault, why, and all that were listed. */
  cause: readonly InvalidPieceCID[]
  pieces: readonly PieceLink[]
}

/** The pieces, if in their order they make the aggregate. */
const checkPieces = (
  bytes: Uint8Array | undefined,
  aggregate: PieceLink,
): Result<PieceLink[], InvalidPieces> => {
  const invalid = (message: string, cause: readonly InvalidPieceCID[] = []) => ({
    error: failure('InvalidPiece', message, { cause, pieces }),
  })
  let pieces: PieceLink[] = []
  if (bytes === undefined) return invalid('The block with the list of pieces must travel with the invocation')
  try {
    pieces = decode(bytes as never)
  } catch (cause) {
    return invalid(`The block of pieces is no DAG-CBOR: ${(cause as Error).message}`)
  }
  if (!(Array.isArray(pieces) && pieces.every(isLink)))
    return invalid('The block of pieces holds no list of links')
  const computed = recompute(pieces, aggregate)
  if (computed.error)
    return invalid(computed.error.message, computed.error.name === 'InvalidPiece' ? computed.error.cause : [])
  return `${computed.ok}` === `${aggregate}`
    ? { ok: pieces }
    : invalid(`The pieces make the aggregate ${computed.ok}, not ${aggregate}`)
}
