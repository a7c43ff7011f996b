import { createHash, type Hash } from 'node:crypto'
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
} from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import { sha256Of } from '../domain/content.ts'
import {
  isConfirmed,
  markSubmitted,
  type PieceRecord,
  recordProblem,
  renewClaim,
  stageReachedAt,
} from '../domain/piece.ts'
import { type SubmitMessage, submitMessage } from '../queues.ts'
import { endPiece } from '../receipts.ts'
import { resources } from '../resources.ts'

const { batch, run } = resources.queues.submit

/**
 * Milliseconds that content may take to be read: a run that is killed can not say that it took too long, and whoever comes
 * next is killed too. A minute is for the rest; the contents of a batch are read one after the other.
 */
const MAX_READ_MS = ((run.timeout - 60) * 1000) / batch

/** The piece that the content hashes to; or why that is not known, with a piece where it is not certain yet. */
type Reading = { piece: PieceLink; problem?: undefined } | { piece?: PieceLink; problem: string }

/** What goes on beside the reading of content. */
interface Watch {
  /** When there is no time left. */
  late: AbortSignal
  sha256: Hash | undefined
}

const mismatch = ({ content, piece }: PieceRecord, found: PieceLink) =>
  `The content ${content} hashes to ${found}, not to ${piece}`

/** Fails when the signal comes. */
const rejected = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))

/**
 * On `submit`, read the content, and if it hashes to the piece, promise to offer it to the aggregator. Content that
 * is not there yet, or can not be read, is looked for again later, by the record's time, and given up in the end. What is
 * held against a piece is the content, and not whatever its source gave for it once.
 */
export const onSubmit = (
  parts: Pick<Dependencies, 'id' | 'stores' | 'queues' | 'content' | 'aggregator' | 'timing' | 'now' | 'log'>,
): Consumer<SubmitMessage> => {
  const { id, stores, queues, content, aggregator, timing, now, log } = parts

  const read = async (record: Stored<PieceRecord>): Promise<Reading> => {
    const claim = () => update(stores.piece, { id: record.id }, current => renewClaim(current, now(), timing))
    // Not among what follows: that a table can not be reached says nothing of the content.
    await claim()
    const began = now()
    const expected = sha256Of(record.content)
    const sha256 = expected && createHash('sha256')
    const late = AbortSignal.timeout(MAX_READ_MS)
    let came = 0
    const onProgress = (bytes: number) => {
      came = bytes
    }
    const hashed = async () => {
      const bytes = await content.open(record.content, late)
      return bytes && (await pieceOf(watched(bytes, { late, sha256 }), { onProgress })).link
    }
    let isOver = false
    /** Nobody else is sent to it as long as this goes on, whether or not anything of it comes. */
    const keepClaim = async () => {
      for (;;) {
        await rejected(AbortSignal.timeout(timing.retryMs / 2)).catch(() => {})
        if (isOver) return
        await claim()
      }
    }
    keepClaim().catch(cause => log('warn', 'claim not renewed', { content: record.content, cause }))
    const unread = (how: string, cause?: unknown): Reading => {
      log('warn', 'content not read', { content: record.content, bytes: came, cause })
      return { problem: `The content ${record.content} can not be read${how}` }
    }
    try {
      // Not left to the source: one that hangs may not hear of the time.
      const piece = await Promise.race([hashed(), rejected(late)])
      if (piece === undefined) return { problem: `There is no content ${record.content}` }
      if (sha256?.digest().equals(expected as Uint8Array) === false)
        return unread(`: the ${came} bytes that came do not hash to it`)
      const found = `${piece}`
      const isSure =
        sha256 !== undefined || found === record.piece || isConfirmed(record, found, began, timing)
      return isSure
        ? { piece }
        : { piece, problem: `${mismatch(record, piece)}; that is looked at once more` }
    } catch (cause) {
      const minutes = MAX_READ_MS / 60_000
      return unread(late.aborted ? ` in ${minutes} minutes: it came as far as ${came} bytes` : '', cause)
    } finally {
      isOver = true
    }
  }

  /** The bytes, as long as there is time, hashed. */
  async function* watched(bytes: AsyncIterable<Uint8Array>, { late, sha256 }: Watch) {
    for await (const chunk of bytes) {
      late.throwIfAborted()
      sha256?.update(chunk)
      yield chunk
    }
  }

  /** The outcome of `filecoin/submit`, now that it is known what the content hashes to. */
  const outcome = async (record: Stored<PieceRecord>, found: PieceLink): Promise<Outcome> => {
    const piece = parseLink(record.piece) as unknown as PieceLink
    if (`${found}` !== record.piece)
      return { out: { error: failure('InvalidPieceCID', mismatch(record, found), { piece }) } }
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
    await update(stores.piece, { id: record.id }, current => markSubmitted(current, promised, now(), timing))
    await queues.aggregation.send([{ id: record.id }])
  }

  return each(
    submitMessage,
    async message => {
      const record = await stores.piece.get({ id: message.id })
      if (record?.stage !== 'offered') {
        if (record?.stage === 'submitted') await queues.aggregation.send([{ id: record.id }])
        return DONE
      }
      const { piece, problem } = await read(record)
      if (problem !== undefined && now() - stageReachedAt(record) < timing.contentWaitMs) {
        await update(stores.piece, { id: record.id }, current =>
          recordProblem(current, 'offered', problem, now(), timing, piece && `${piece}`),
        )
        return DONE
      }
      const content = parseLink(record.content)
      // The receipt that is filed decides: another run may have been here before, under another key.
      const receipt = await stores.receipts.put(
        await issueReceipt(
          id,
          await unpackTask(record.submitTask),
          problem === undefined
            ? await outcome(record, piece)
            : { out: { error: failure('ContentNotFound', problem, { content }) } },
        ),
      )
      if (receipt.out.error) await end(record, receipt.out.error as Failure)
      else await passOn(record, receipt.fx.join as Task)
      return DONE
    },
    { concurrency: 1 },
  )
}
