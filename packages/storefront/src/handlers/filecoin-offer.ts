import { failure, filecoinOffer, type PieceLink, Tasks, type UnknownLink } from '@w3filecoin/capabilities'
import { type Handler, packTask, provide, unpackTask } from '@w3filecoin/service'
import type { Dependencies } from '../dependencies.ts'
import { offered, pieceId } from '../domain/piece.ts'

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
  ) => {
    const provider = (await stores.spaces.get({ space }))?.provider
    const record = offered(
      {
        ...offer,
        group: provider ?? defaultGroup,
        submit: await packTask(await Tasks.filecoinSubmit(id, { ...links, nonce: offer.nonce })),
        accept: await packTask(await Tasks.filecoinAccept(id, { ...links, nonce: offer.nonce })),
      },
      now(),
      timing,
    )
    const inserted = await stores.pieces.insert(record)
    return inserted.ok ?? inserted.error.record
  }

  return provide(
    filecoinOffer,
    async ({ capability, invocation }) => {
      const { content, piece } = capability.nb as Links
      const offer = { content: `${content}`, piece: `${piece}`, nonce: invocation.nonce }
      const known = await stores.pieces.get({ id: pieceId(offer) })
      if (!known && missingContent === 'refuse' && !(await source.has(offer.content)))
        return { out: { error: failure('ContentNotFound', `There is no content ${content}`, { content }) } }
      const record = known ?? (await first(offer, { content, piece }, capability.with))
      if (record.stage === 'offered') await queues.submit.send([{ id: record.id }])
      return {
        out: { ok: { piece } },
        fx: { fork: [await unpackTask(record.submit)], join: await unpackTask(record.accept) },
      }
    },
    { keep: true },
  )
}

interface Links {
  content: UnknownLink
  piece: PieceLink
}
