import {
  failure,
  filecoinOffer,
  MAX_GROUP_BYTES,
  type PieceLink,
  type Result,
  Tasks,
  type UnknownLink,
} from '@w3filecoin/capabilities'
import { type Handler, packTask, provide, type Stored, unpackTask } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { newPiece, type PieceRecord, pieceId } from '../domain/piece.ts'

/**
 * `filecoin/offer`: notes the piece, and promises to submit it and to end it. The same offer again, whoever makes
 * it, finds the record and gets the same promises.
 */
export const filecoinOfferHandler = ({
  id,
  stores,
  queues,
  content: source,
  defaultGroup,
  missingContent,
  timing,
  now,
}: Pick<
  Dependencies,
  'id' | 'stores' | 'queues' | 'content' | 'defaultGroup' | 'missingContent' | 'timing' | 'now'
>): Handler => {
  const first = async (
    offer: { content: string; piece: string; nonce: string | undefined },
    links: Links,
    space: string,
  ): Promise<Result<Stored<PieceRecord>>> => {
    const group = (await stores.space.get({ space }))?.provider ?? defaultGroup
    if (Buffer.byteLength(group) > MAX_GROUP_BYTES)
      return {
        error: failure('InvalidGroup', `The provider of ${space} has more than ${MAX_GROUP_BYTES} bytes`),
      }
    const record = newPiece(
      {
        ...offer,
        group,
        submitTask: await packTask(await Tasks.filecoinSubmit(id, { ...links, nonce: offer.nonce })),
        acceptTask: await packTask(await Tasks.filecoinAccept(id, { ...links, nonce: offer.nonce })),
      },
      now(),
      timing,
    )
    const inserted = await stores.piece.insert(record)
    return { ok: inserted.ok ?? inserted.error.record }
  }

  return provide(
    filecoinOffer,
    async ({ capability, invocation }) => {
      const { content, piece } = capability.nb as Links
      const offer = { content: `${content}`, piece: `${piece}`, nonce: invocation.nonce }
      const known = await stores.piece.get({ id: pieceId(offer) })
      if (!known && missingContent === 'refuse' && !(await source.has(offer.content)))
        return { out: { error: failure('ContentNotFound', `There is no content ${content}`, { content }) } }
      const noted = known ? { ok: known } : await first(offer, { content, piece }, capability.with)
      // The operator mends that, and the offer is made again.
      if (noted.error) return { out: noted }
      const record = noted.ok
      if (record.stage === 'offered') await queues.submit.send([{ id: record.id }])
      return {
        out: { ok: { piece } },
        fx: { fork: [await unpackTask(record.submitTask)], join: await unpackTask(record.acceptTask) },
      }
    },
    { keep: true },
  )
}

interface Links {
  content: UnknownLink
  piece: PieceLink
}
