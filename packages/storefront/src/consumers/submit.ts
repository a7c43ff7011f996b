import { failure, type PieceLink, type Task, Tasks } from '@w3filecoin/capabilities'
import { pieceOf } from '@w3filecoin/piece'
import {
  type Consumer,
  DONE,
  each,
  issueReceipt,
  packTask,
  type Stored,
  unpackTask,
  update,
} from '@w3filecoin/service'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import { failed, type PieceRecord, submitted } from '../domain/piece.ts'
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
  const succeed = async (record: Stored<PieceRecord>) => {
    const piece = parseLink(record.piece) as unknown as PieceLink
    const offer = await Tasks.pieceOffer(id, aggregator.principal, {
      piece,
      group: record.group,
      nonce: record.nonce,
    })
    const submit = await unpackTask(record.submit)
    // A receipt that was filed before, perhaps under another key, stands: its promise is the one to keep.
    const receipt = await stores.receipts.put(
      await issueReceipt(id, submit, { out: { ok: { piece } }, fx: { join: offer } }),
    )
    const promised = await packTask(receipt.fx.join as Task)
    await update(stores.pieces, { id: record.id }, current => submitted(current, promised, now(), timing))
    await queues.pieceOffer.send([{ id: record.id }])
  }

  const fail = async (record: Stored<PieceRecord>, found: PieceLink) => {
    const piece = parseLink(record.piece)
    const message = `The content ${record.content} hashes to ${found}, not to ${record.piece}`
    const submit = await unpackTask(record.submit)
    const accept = await unpackTask(record.accept)
    await stores.receipts.put(
      await issueReceipt(id, submit, { out: { error: failure('InvalidPieceCID', message, { piece }) } }),
    )
    await stores.receipts.put(
      await issueReceipt(id, accept, {
        out: { error: failure('InvalidContentPiece', message, { content: parseLink(record.content) }) },
      }),
    )
    await update(stores.pieces, { id: record.id }, current => failed(current, now()))
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
      const { link } = await pieceOf(bytes)
      if (`${link}` === record.piece) await succeed(record)
      else await fail(record, link)
      return DONE
    },
    { concurrency: 1 },
  )
}
