import {
  type Failure,
  failure,
  type PieceLink,
  type Result,
  type Task,
  Tasks,
} from '@w3filecoin/capabilities'
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
import { type PieceRecord, reading, since, submitted, troubled } from '../domain/piece.ts'
import { type SubmitMessage, submitMessage } from '../queues.ts'
import { endPiece } from '../receipts.ts'
import { resources } from '../resources.ts'

const { batch, run } = resources.queues.submit

/**
 * Milliseconds that content may take to be read: a run that is killed can not say that it took too long, and whoever comes
 * next is killed too. A minute is for the rest; the contents of a batch are read one after the other.
 */
const LONGEST_READ = ((run.timeout - 60) * 1000) / batch

/** Fails when the signal comes. */
const rejected = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))

/**
 * On `submit`, read the content, and if it hashes to the piece, promise to offer it to the aggregator. Content that
 * is not there yet, or can not be read, is looked for again later, by the record's time, and given up in the end.
 */
export const onSubmit = (
  parts: Pick<Dependencies, 'id' | 'stores' | 'queues' | 'content' | 'aggregator' | 'timing' | 'now' | 'log'>,
): Consumer<SubmitMessage> => {
  const { id, stores, queues, content, aggregator, timing, now, log } = parts

  /** The piece that the content hashes to. */
  const read = async (record: Stored<PieceRecord>): Promise<Result<PieceLink>> => {
    const missing = (message: string) => ({
      error: failure('ContentNotFound', message, { content: parseLink(record.content) }),
    })
    const claim = () => update(stores.pieces, { id: record.id }, current => reading(current, now(), timing))
    // Not among what follows: that a table can not be reached says nothing of the content.
    await claim()
    const late = AbortSignal.timeout(LONGEST_READ)
    let came = 0
    const hashed = async () => {
      const bytes = await content.open(record.content, late)
      const onProgress = (bytes: number) => {
        came = bytes
      }
      return bytes && pieceOf(claimed(bytes, claim, late), { onProgress })
    }
    try {
      // Not left to the source: one that hangs may not hear of the time.
      const found = await Promise.race([hashed(), rejected(late)])
      return found ? { ok: found.link } : missing(`There is no content ${record.content}`)
    } catch (cause) {
      log('warn', 'content not read', { content: record.content, bytes: came, cause })
      const how = late.aborted ? ` in ${LONGEST_READ / 60_000} minutes: it came as far as ${came} bytes` : ''
      return missing(`The content ${record.content} can not be read${how}`)
    }
  }

  /** The bytes, with the claim renewed as they are read, for as long as there is time. */
  async function* claimed(
    bytes: AsyncIterable<Uint8Array>,
    claim: () => Promise<unknown>,
    late: AbortSignal,
  ) {
    let since = now()
    for await (const chunk of bytes) {
      late.throwIfAborted()
      if (now() - since >= timing.retry / 2) {
        await claim()
        since = now()
      }
      yield chunk
    }
  }

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

  const end = async (record: Stored<PieceRecord>, reason: Failure) => {
    const error =
      reason.name === 'InvalidPieceCID'
        ? failure('InvalidContentPiece', reason.message, { content: parseLink(record.content) })
        : reason
    await endPiece(parts, record, { error })
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
      const found = await read(record)
      if (found.error && now() - since(record) < timing.longestWait) {
        const { message: trouble } = found.error
        await update(stores.pieces, { id: record.id }, current =>
          troubled(current, 'offered', trouble, now(), timing),
        )
        return DONE
      }
      // The receipt that is filed decides: another run may have been here before, under another key.
      const receipt = await stores.receipts.put(
        await issueReceipt(
          id,
          await unpackTask(record.submit),
          found.error ? { out: { error: found.error } } : await outcome(record, found.ok),
        ),
      )
      if (receipt.out.error) await end(record, receipt.out.error as Failure)
      else await passOn(record, receipt.fx.join as Task)
      return DONE
    },
    { concurrency: 1 },
  )
}
