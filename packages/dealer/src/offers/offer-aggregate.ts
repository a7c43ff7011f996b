import { code as CBOR } from '@ipld/dag-cbor'
import type { DID, Link } from '@ucanto/interface'
import { type Failure, failure, type PieceLink, type Task, Tasks } from '@w3filecoin/capabilities'
import {
  type Filed,
  getValue,
  issueReceipt,
  MAX_RECEIPT_BYTES,
  type Outcome,
  outcomeOf,
  packTask,
  type Stored,
} from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import {
  type AggregateRecord,
  aggregateId,
  isFinal,
  isSameOwner,
  MAX_INVALID_PIECES,
  MAX_REFUSED_PIECES,
  markFailed,
  newAggregate,
  type Offer,
  toLaterOffer,
} from '../domain/aggregate.ts'
import { documentName, newOfferDocument } from '../domain/offer-document.ts'
import type { TenantFields } from '../domain/tenant.ts'
import { startOrders } from '../orders/start-orders.ts'
import { createFailureOutcome } from '../settlement/failure-outcome.ts'
import { boundReceiptBytes } from '../settlement/receipt-size.ts'
import { sendRetries, storeRetries } from '../settlement/retries.ts'
import { checkPieces, type InvalidPieces } from './check-pieces.ts'
import { locatePieces, permitEndMs } from './locate.ts'

/** An aggregate that an aggregator wants deals for. */
export interface AggregateOffer {
  aggregate: PieceLink
  /** Link of the DAG-CBOR list of the pieces. */
  pieces: Link
  /** The block of that list; `undefined` if it did not come with the offer. A repeated offer does not need it. */
  piecesBytes: Uint8Array | undefined
  nonce?: string | undefined
  aggregator: DID
  tenant: TenantFields
  /** The task that makes the offer. A final refusal is stored as its receipt. */
  task: Task
  /** Returns an error in the words of the offer. Default: those of the protocol. */
  describe?: ((error: Failure) => Failure) | undefined
}

/** The record of an offered aggregate, or the answer that refuses the offer. */
export type Offered =
  | { record: Stored<AggregateRecord>; refusal?: undefined }
  | { record?: undefined; refusal: Outcome | Filed }

type OfferDependencies = Pick<
  Dependencies,
  | 'id'
  | 'stores'
  | 'queues'
  | 'offerDocuments'
  | 'pieceSources'
  | 'policies'
  | 'targets'
  | 'aggregators'
  | 'timing'
  | 'batching'
  | 'now'
  | 'log'
>

/**
 * Offers an aggregate for an aggregator and tenant, once it is recomputed from its pieces. The caller has authorized the
 * aggregator. The record has the promised `aggregate/accept`. A repeated offer finds the same record.
 *
 * If some pieces are invalid, the aggregate fails at once: the stored receipt names them, and the other pieces are
 * retried. If a request cannot do that because there are too many pieces, the refusal is not stored and an operator
 * must act.
 */
export const offerAggregate = async (
  dependencies: OfferDependencies,
  offer: AggregateOffer,
): Promise<Offered> => {
  const { id, stores, timing, now } = dependencies
  const { aggregate, pieces, piecesBytes, nonce, aggregator, tenant } = offer
  const fields = { aggregate: `${aggregate}`, piecesCid: `${pieces}`, nonce, aggregator, ...tenant }
  const known = await findOffer(stores, fields)
  if (known) return repeatAnswer(dependencies, known, offer.task)

  const checked = checkPieces(piecesBytes, aggregate)
  if (checked.error && checked.error.cause.length === 0)
    return { refusal: refusePieces(offer, checked.error.message) }
  const listed = checked.ok ?? checked.error.pieces
  const receiptBytes = await boundReceiptBytes(id, fields, listed)
  if (receiptBytes > MAX_RECEIPT_BYTES) {
    const message = `If ${aggregate} failed, its receipt could have ${receiptBytes} bytes, and services read at most ${MAX_RECEIPT_BYTES} bytes. Offer fewer pieces, or a shorter group or nonce`
    return { refusal: { out: { error: failure('AggregateTooLarge', message) } } }
  }
  if (checked.error) return { refusal: await failAtOnce(dependencies, offer, fields, checked.error) }

  await stores.blocks.put(piecesBytes as Uint8Array, CBOR)
  const current = await insertOffer(stores, fields, async (key, laterOffer) => {
    const accept = await Tasks.aggregateAccept(id, { aggregate, pieces, nonce, laterOffer })
    return newAggregate({ ...fields, id: key, acceptTask: await packTask(accept) }, now(), timing)
  })
  // Written after the record: deal making may report on the document at once.
  if (!isFinal(current)) await startDeals(dependencies, current, checked.ok)
  return answerFrom(dependencies, current)
}

type OfferFields = Omit<Offer, 'acceptTask' | 'refusedOfferCid'>

/** Finds the record of an offer that was made before: the first one of its owner. See {@link aggregateId}. */
const findOffer = async (
  stores: Dependencies['stores'],
  fields: OfferFields,
): Promise<Stored<AggregateRecord> | undefined> => {
  const first = await stores.aggregate.get({ id: aggregateId(fields) })
  return first === undefined || isSameOwner(first, fields)
    ? first
    : stores.aggregate.get({ id: aggregateId(fields, fields) })
}

/**
 * Inserts the record of an offer: under the plain key, or under its owner's key if an offer of another owner was first.
 *
 * @param create creates the record; `laterOffer` is set if another owner was first
 * @returns the record, which a concurrent run of the same offer may have inserted
 */
const insertOffer = async (
  stores: Dependencies['stores'],
  fields: OfferFields,
  create: (key: string, laterOffer?: Tasks.LaterOffer) => Promise<AggregateRecord>,
): Promise<Stored<AggregateRecord>> => {
  const plain = await stores.aggregate.insert(await create(aggregateId(fields)))
  const first = plain.ok ?? plain.error.record
  if (isSameOwner(first, fields)) return first
  const own = await stores.aggregate.insert(
    await create(aggregateId(fields, fields), toLaterOffer(fields, first)),
  )
  return own.ok ?? own.error.record
}

/** Answers a repeated offer from the record of the first one. */
const repeatAnswer = async (
  dependencies: OfferDependencies,
  record: Stored<AggregateRecord>,
  { cid }: Task,
): Promise<Offered> => {
  const { stores } = dependencies
  // Without a receipt, the first run may have been interrupted before it wrote the document and the orders.
  if (!isFinal(record) && !(await stores.receipts.get(`${cid}`)))
    await startDeals(dependencies, record, await getValue<PieceLink[]>(stores.blocks, record.piecesCid))
  return answerFrom(dependencies, record)
}

/** Returns the record of an offer, or its refusal. */
const answerFrom = async (
  { stores }: Pick<Dependencies, 'stores'>,
  record: Stored<AggregateRecord>,
): Promise<Offered> => {
  const { refusedOfferCid } = record
  const refusal = refusedOfferCid === undefined ? undefined : await stores.receipts.get(refusedOfferCid)
  return refusal ? { refusal: outcomeOf(refusal) } : { record }
}

/** Writes the document in which deal making finds the offer, and orders copies from the targets of its policy. */
const startDeals = async (
  dependencies: OfferDependencies,
  record: AggregateRecord,
  pieces: readonly PieceLink[],
): Promise<void> => {
  const end = permitEndMs(record.offeredAt, dependencies.timing)
  const document = newOfferDocument(record, pieces, await locatePieces(dependencies, record, end))
  await dependencies.offerDocuments.put(documentName(record), document)
  await startOrders(dependencies, record)
}

const refusePieces = ({ aggregate }: AggregateOffer, message: string): Outcome => ({
  out: { error: failure('InvalidPiece', message, { aggregate, cause: [] }) },
})

/** Records an aggregate with invalid pieces as failed, stores the refusal, and retries the other pieces. */
const failAtOnce = async (
  dependencies: OfferDependencies,
  offer: AggregateOffer,
  fields: OfferFields,
  { message, cause: invalid, pieces }: InvalidPieces,
): Promise<Outcome | Filed> => {
  const { id, stores, timing, now } = dependencies
  const { task, aggregator } = offer
  if (invalid.length > MAX_INVALID_PIECES || pieces.length > MAX_REFUSED_PIECES)
    return refusePieces(offer, `${message}: too many pieces to name the invalid ones and retry the others`)
  const outcome = await createFailureOutcome(id, fields, pieces, { message, invalid })
  if (outcome.out.error && offer.describe) outcome.out.error = offer.describe(outcome.out.error)
  const filed = await stores.receipts.put(await issueReceipt(id, task, outcome))
  const retries = await storeRetries(dependencies, aggregator, filed)
  const record = await insertOffer(stores, fields, async key => {
    const refused = newAggregate({ ...fields, id: key, refusedOfferCid: `${task.cid}` }, now(), timing)
    const reason = filed.out.error as Failure
    return markFailed(refused, { ...retries, reason }, now(), timing) as AggregateRecord
  })
  await sendRetries(dependencies, record.id, retries)
  return { filed }
}
