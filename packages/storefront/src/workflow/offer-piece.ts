import {
  type Failure,
  failure,
  MAX_GROUP_BYTES,
  type PieceLink,
  type Result,
  type Task,
  type UnknownLink,
} from '@w3filecoin/capabilities'
import { type Stored, update } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import { membershipsOf, newInclusion } from '../domain/inclusion.ts'
import { type OfferRecord, offerOwner } from '../domain/offer.ts'
import {
  distinctGroup,
  newPiece,
  nextAttempt,
  type Offered,
  type PieceRecord,
  pieceId,
  renewWait,
  stageReachedAt,
  startAttempt,
} from '../domain/piece.ts'
import { checkPiece, rootOf } from '../domain/piece-link.ts'
import type { Space } from '../domain/quota.ts'
import { admitOffer } from './admit-offer.ts'
import { endPiece } from './end-piece.ts'
import {
  cidsOf,
  type PromisedTasks,
  preparePromises,
  promisedCid,
  readPromises,
  taskRowsOf,
} from './promises.ts'

export type OfferDependencies = Pick<
  Dependencies,
  'id' | 'stores' | 'queues' | 'content' | 'defaultGroup' | 'missingContent' | 'admission' | 'timing' | 'now'
>

interface PieceOffer {
  content: UnknownLink
  piece: PieceLink
  nonce: string | undefined
  /** The space that holds the content. Its provider is the group of the piece. */
  space: Space
}

interface Found {
  record: Stored<PieceRecord>
  /** The promised tasks, if this call built them. */
  promises?: PromisedTasks | undefined
  /** Whether an earlier offer got the same promises. */
  isRepeat: boolean
}

export interface OfferedPiece extends Found {
  /** The promised `filecoin/submit`. */
  submitTask: Task
  /** The promised `filecoin/accept`. */
  acceptTask: Task
}

/**
 * Starts the workflow of a piece, in any vocabulary that an agent may offer it in. An offer of the same content, piece and
 * nonce, by any space of the same group, finds the existing record and gets the same promises. If the content did not arrive
 * in time for the earlier offers and can be read now, the offer starts another attempt.
 *
 * Fails with `InvalidPieceCID`, `ContentNotFound`, `InvalidGroup`, `SpaceNotListed` or `TooManyOffers`. Then nothing is
 * recorded, and the offer may be repeated.
 */
export const offerPiece = async (
  dependencies: OfferDependencies,
  { content, piece, nonce, space }: PieceOffer,
): Promise<Result<OfferedPiece>> => {
  const invalid = checkPiece(piece)
  if (invalid.error) return invalid
  const found = await findOrStart(dependencies, { content: `${content}`, piece: `${piece}`, nonce }, space)
  if (found.error) return found
  const { record, isRepeat, promises } = await resume(dependencies, found.ok)
  if (record.stage === 'offered') await dependencies.queues.submit.send([{ id: record.id }])
  const { submit, accept } = promises ?? (await readBoth(dependencies, record))
  return { ok: { record, isRepeat, submitTask: submit, acceptTask: accept } }
}

const readBoth = async (
  { stores }: Pick<Dependencies, 'stores'>,
  record: PieceRecord,
): Promise<PromisedTasks> => {
  const [[submit], [accept]] = await Promise.all([
    readPromises(stores, [record], 'submit'),
    readPromises(stores, [record], 'accept'),
  ])
  return { submit: submit as Task, accept: accept as Task }
}

/** Returns the workflow of an offer in the group of its space. Starts it if there is none. */
const findOrStart = async (
  dependencies: OfferDependencies,
  offered: Offered,
  space: Space,
): Promise<Result<Found>> => {
  const { stores, defaultGroup, now } = dependencies
  const key = { owner: offerOwner(space.did, offered.piece), workflow: pieceId(offered) }
  const row = await stores.offer.get(key)
  const group = row?.group ?? space.provider ?? defaultGroup
  const { first: plain, known } = await findInGroup(stores, offered, group)
  const insert = (offer: Pick<OfferRecord, 'space' | 'group'>) =>
    insertPiece(dependencies, offered, offer, plain?.group)
  const repeat = known && { record: known, isRepeat: true }
  if (row) return { ok: repeat ?? (await insert(row)) }
  const admitted = await admit(dependencies, offered, space, group, known !== undefined)
  if (admitted.error) {
    // A workflow that another space started costs nothing more. It is not recorded that this space offered it.
    return repeat ? { ok: repeat } : admitted
  }
  if (known && known.acceptCid === undefined) await completeRows(stores, known)
  const inserted = await stores.offer.insert({ ...key, space: space.did, group, offeredAt: now() })
  const first = inserted.ok ?? inserted.error.record
  return {
    ok: repeat?.record.group === first.group ? repeat : await insert(first),
  }
}

/** Checks whether a space may make an offer that it did not make before. */
const admit = async (
  dependencies: OfferDependencies,
  { content, nonce }: Offered,
  space: Space,
  group: string,
  isKnown: boolean,
): Promise<Result<object>> => {
  if (Buffer.byteLength(group) > MAX_GROUP_BYTES)
    return {
      error: failure(
        'InvalidGroup',
        `The provider of ${space.did} has more than ${MAX_GROUP_BYTES} bytes: the operator must shorten it`,
      ),
    }
  if (!isKnown && dependencies.missingContent === 'refuse' && !(await dependencies.content.has(content)))
    return {
      error: failure('ContentNotFound', `There is no content ${content}`, { content: parseLink(content) }),
    }
  return admitOffer(dependencies, space, nonce)
}

/** Returns the record with the plain key of an offer, and the record of its group: see {@link pieceId}. */
const findInGroup = async (
  { piece }: Dependencies['stores'],
  offered: Offered,
  group: string,
): Promise<{ first: Stored<PieceRecord> | undefined; known: Stored<PieceRecord> | undefined }> => {
  const first = await piece.get({ id: pieceId(offered) })
  const isOther = first !== undefined && first.group !== group
  return { first, known: isOther ? await piece.get({ id: pieceId(offered, group) }) : first }
}

/**
 * Inserts the record of a piece for the group of an offer, or returns the one that a concurrent offer inserted.
 *
 * @param firstGroup the group of the record with the plain key; `undefined` if there was none
 */
const insertPiece = async (
  dependencies: OfferDependencies,
  offered: Offered,
  offer: Pick<OfferRecord, 'space' | 'group'>,
  firstGroup: string | undefined,
): Promise<Found> => {
  if (firstGroup !== undefined && firstGroup !== offer.group)
    return insertRecord(dependencies, offered, offer, true)
  const first = await insertRecord(dependencies, offered, offer, false)
  return first.record.group === offer.group ? first : insertRecord(dependencies, offered, offer, true)
}

const insertRecord = async (
  dependencies: OfferDependencies,
  { content, piece, nonce }: Offered,
  { space, group }: Pick<OfferRecord, 'space' | 'group'>,
  /** Whether the key and the tasks contain the group. */
  isDistinct: boolean,
): Promise<Found> => {
  const { stores, timing, now } = dependencies
  const offered = { content, piece, nonce }
  const promises = await preparePromises(dependencies, offered, isDistinct ? { group } : {})
  const inserted = await stores.piece.insert(
    newPiece(
      { ...offered, root: rootOf(piece), ...cidsOf(promises), space, group, isDistinct },
      now(),
      timing,
    ),
  )
  return inserted.ok
    ? { record: inserted.ok, promises, isRepeat: false }
    : { record: inserted.error.record, isRepeat: true }
}

/** Writes the rows that version 0.1.0 did not write with a record, so that `filecoin/info` finds it. */
const completeRows = async (stores: Dependencies['stores'], record: PieceRecord): Promise<void> => {
  await stores.task.putMany(await taskRowsOf(record))
  await stores.inclusion.putMany(
    membershipsOf(record).flatMap(membership =>
      'inclusion' in membership ? [newInclusion(record.piece, membership, 0)] : [],
    ),
  )
}

/** Continues the workflow of a repeated offer: the wait for its content starts again, or another attempt does. */
const resume = async (dependencies: OfferDependencies, found: Found): Promise<Found> => {
  const { stores, content, timing, now } = dependencies
  const record = await completeEnd(dependencies, found.record)
  const attempt = nextAttempt(record)
  if (attempt !== undefined && (await content.has(record.content))) {
    const promises = await preparePromises(dependencies, record, { group: distinctGroup(record), attempt })
    const started = await update(stores.piece, { id: record.id }, current =>
      startAttempt(current, attempt, cidsOf(promises), now(), timing),
    )
    return {
      record: started.record ?? record,
      isRepeat: !started.changed,
      ...(started.changed && { promises }),
    }
  }
  if (renewWait(record, now(), timing) === undefined) return { ...found, record }
  const renewed = await update(stores.piece, { id: record.id }, current => renewWait(current, now(), timing))
  return { ...found, record: renewed.record ?? record }
}

/**
 * Ends an attempt whose receipt of `filecoin/submit` says that the content did not arrive: the run that stored the receipt
 * may have been killed before it changed the record.
 */
const completeEnd = async (
  dependencies: OfferDependencies,
  record: Stored<PieceRecord>,
): Promise<Stored<PieceRecord>> => {
  const { stores, timing, now } = dependencies
  // No run abandons content before it has waited once.
  if (record.stage !== 'offered' || now() < stageReachedAt(record) + timing.contentWaitMs) return record
  const submit = await stores.receipts.get(await promisedCid(record, 'submit'))
  const reason = submit?.out.error as Failure | undefined
  if (reason?.name !== 'ContentNotFound') return record
  return (await endPiece(dependencies, record, { error: reason })) ?? record
}
