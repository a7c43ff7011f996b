import { type Failure, failure, type PieceLink, type Task, Tasks } from '@w3filecoin/capabilities'
import { pieceOf } from '@w3filecoin/piece'
import {
  type Consumer,
  DONE,
  each,
  issueReceipt,
  type Outcome,
  packTask,
  type Stored,
  unpackTask,
  update,
} from '@w3filecoin/service'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import { failed, type PieceRecord, reading, submitted } from '../domain/piece.ts'
import { type SubmitMessage, submitMessage } from '../queues.ts'

/**
 * On `submit`, read the content, and if it hashes to the piece, promise to offer it to the aggregator. Content that
 * is not there yet is looked for again later, by the record's time.
 */
export const onSubmit = ({
  id,
  stores,
  queues,
  content,
  aggregator,
  timing,
  now,
}: Pick<
  Dependencies,
  'id' | 'stores' | 'queues' | 'content' | 'aggregator' | 'timing' | 'now'
>): Consumer<SubmitMessage> => {
  /** The outcome of `filecoin/submit`, now that it is known what the content hashes to. */
  const outcome = async (record: Stored<PieceRecord>, found: PieceLink): Promise<Outcome> => {
    const piece = parseLink(record.piece) as unknown as PieceLink
    if (`${found}` !== record.piece) {
      const message = `The content ${record.content} hashes to ${found}, not to ${record.piece}`
      return { out: { error: failure('InvalidPieceCID', message, { piece }) } }
    }
    const { group, nonce } = record
    const join = await Tasks.pieceOffer(id, aggregator.principal, { piece, group, nonce })
    return { out: { ok: { piece } }, fx: { join } }
  }

  const end = async (record: Stored<PieceRecord>, { message }: Failure) => {
    const content = parseLink(record.content)
    const accept = await unpackTask(record.accept)
    await stores.receipts.put(
      await issueReceipt(id, accept, {
        out: { error: failure('InvalidContentPiece', message, { content }) },
      }),
    )
    await update(stores.pieces, { id: record.id }, current => failed(current, now()))
  }

  const passOn = async (record: Stored<PieceRecord>, pieceOffer: Task) => {
    const promised = await packTask(pieceOffer)
    await update(stores.pieces, { id: record.id }, current => submitted(current, promised, now(), timing))
    await queues.pieceOffer.send([{ id: record.id }])
  }

  return each(
    body => submitMessage.parse(body),
    async message => {
      const record = await stores.pieces.get({ id: message.id })
      if (record?.stage !== 'offered') {
        if (record?.stage === 'submitted') await queues.pieceOffer.send([{ id: record.id }])
        return DONE
      }
      const bytes = await content.open(record.content)
      if (bytes === undefined) return DONE
      await update(stores.pieces, { id: record.id }, current => reading(current, now()))
      const { link } = await pieceOf(bytes)
      // The receipt that is filed decides: another run may have been here before, under another key.
      const receipt = await stores.receipts.put(
        await issueReceipt(id, await unpackTask(record.submit), await outcome(record, link)),
      )
      if (receipt.out.error) await end(record, receipt.out.error as Failure)
      else await passOn(record, receipt.fx.join as Task)
      return DONE
    },
    { concurrency: 1 },
  )
}
