import {
  failure,
  MAX_GROUP_BYTES,
  type PieceLink,
  type Result,
  type Task,
  Tasks,
  type UnknownLink,
} from '@w3filecoin/capabilities'
import { packTask, type Stored, unpackTask } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { newPiece, type PieceRecord, pieceId } from '../domain/piece.ts'

export type OfferDependencies = Pick<
  Dependencies,
  'id' | 'stores' | 'queues' | 'content' | 'defaultGroup' | 'missingContent' | 'timing' | 'now'
>

interface PieceOffer {
  content: UnknownLink
  piece: PieceLink
  nonce: string | undefined
  /** DID of the space that holds the content. The first offer determines the group of the piece by it. */
  space: string
}

interface OfferedPiece {
  record: Stored<PieceRecord>
  /** The promised `filecoin/submit`. */
  submitTask: Task
  /** The promised `filecoin/accept`. */
  acceptTask: Task
}

/**
 * Starts the workflow of a piece, in any vocabulary that an agent may offer it in. An offer of the same content, piece and
 * nonce, by any agent, finds the existing record and gets the same promises.
 *
 * Fails with `ContentNotFound` or `InvalidGroup`. Then nothing is recorded, and the offer may be repeated.
 */
export const offerPiece = async (
  dependencies: OfferDependencies,
  offer: PieceOffer,
): Promise<Result<OfferedPiece>> => {
  const { stores, queues, content: source, missingContent } = dependencies
  const content = `${offer.content}`
  const known = await stores.piece.get({
    id: pieceId({ content, piece: `${offer.piece}`, nonce: offer.nonce }),
  })
  if (!known && missingContent === 'refuse' && !(await source.has(content)))
    return {
      error: failure('ContentNotFound', `There is no content ${content}`, { content: offer.content }),
    }
  const recorded: Result<Stored<PieceRecord>> = known ? { ok: known } : await insertPiece(dependencies, offer)
  if (recorded.error) return recorded
  const record = recorded.ok
  if (record.stage === 'offered') await queues.submit.send([{ id: record.id }])
  return {
    ok: {
      record,
      submitTask: await unpackTask(record.submitTask),
      acceptTask: await unpackTask(record.acceptTask),
    },
  }
}

/** Inserts the record of a new piece, or returns the one that a concurrent offer inserted. */
const insertPiece = async (
  { id, stores, defaultGroup, timing, now }: OfferDependencies,
  { content, piece, nonce, space }: PieceOffer,
): Promise<Result<Stored<PieceRecord>>> => {
  const group = (await stores.space.get({ space }))?.provider ?? defaultGroup
  if (Buffer.byteLength(group) > MAX_GROUP_BYTES)
    return {
      error: failure(
        'InvalidGroup',
        `The provider of ${space} has more than ${MAX_GROUP_BYTES} bytes: the operator must shorten it`,
      ),
    }
  const record = newPiece(
    {
      content: `${content}`,
      piece: `${piece}`,
      nonce,
      group,
      submitTask: await packTask(await Tasks.filecoinSubmit(id, { content, piece, nonce })),
      acceptTask: await packTask(await Tasks.filecoinAccept(id, { content, piece, nonce })),
    },
    now(),
    timing,
  )
  const inserted = await stores.piece.insert(record)
  return { ok: inserted.ok ?? inserted.error.record }
}
