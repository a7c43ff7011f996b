import { type Failure, failure, parsePieceLink, type Task, Tasks } from '@w3filecoin/capabilities'
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
import { markSubmitted, type PieceRecord, recordProblem, stageReachedAt } from '../domain/piece.ts'
import { type SubmitMessage, submitMessage } from '../queues.ts'
import { endPiece } from '../workflow/end-piece.ts'
import { describeMismatch, type Finding, findPiece } from '../workflow/find-piece.ts'

/**
 * On `submit`, read the content. If it hashes to the piece, promise to offer the piece to the aggregator; if it hashes to
 * another one, end the workflow. Retry content that does not exist or cannot be read, with backoff, and abandon it in the
 * end.
 */
export const onSubmit = (
  dependencies: Pick<
    Dependencies,
    'id' | 'stores' | 'queues' | 'content' | 'aggregator' | 'timing' | 'now' | 'log'
  >,
): Consumer<SubmitMessage> => {
  const { id, stores, queues, aggregator, timing, now } = dependencies

  const outcomeOfSubmit = async (record: Stored<PieceRecord>, finding: Finding): Promise<Outcome> => {
    if (finding.problem !== undefined)
      return {
        out: {
          error: failure('ContentNotFound', finding.problem, { content: parseLink(record.content) }),
        },
      }
    const piece = parsePieceLink(record.piece)
    if (`${finding.piece}` !== record.piece)
      return {
        out: { error: failure('InvalidPieceCID', describeMismatch(record, finding.piece), { piece }) },
      }
    const { group, nonce } = record
    const join = await Tasks.pieceOffer(id, aggregator.principal, { piece, group, nonce })
    return { out: { ok: { piece } }, fx: { join } }
  }

  const check = async (record: Stored<PieceRecord>): Promise<void> => {
    const finding = await findPiece(dependencies, record)
    const { piece, problem } = finding
    if (problem !== undefined && now() - stageReachedAt(record) < timing.contentWaitMs) {
      await update(stores.piece, { id: record.id }, current =>
        recordProblem(current, 'offered', problem, now(), timing, piece && `${piece}`),
      )
      return
    }
    // Follow the stored receipt: an earlier run may have stored another one, e.g. signed with a former key.
    const { out, fx } = await stores.receipts.put(
      await issueReceipt(id, await unpackTask(record.submitTask), await outcomeOfSubmit(record, finding)),
    )
    if (out.error) await end(record, out.error as Failure)
    else await passOn(record, fx.join as Task)
  }

  const passOn = async (record: Stored<PieceRecord>, pieceOffer: Task): Promise<void> => {
    const pieceOfferTask = await packTask(pieceOffer)
    await update(stores.piece, { id: record.id }, current =>
      markSubmitted(current, pieceOfferTask, now(), timing),
    )
    await queues.aggregation.send([{ id: record.id }])
  }

  const end = (record: Stored<PieceRecord>, reason: Failure) =>
    endPiece(dependencies, record, {
      error:
        reason.name === 'InvalidPieceCID'
          ? failure('InvalidContentPiece', reason.message, { content: parseLink(record.content) })
          : reason,
    })

  return each(
    submitMessage,
    async message => {
      const record = await stores.piece.get({ id: message.id })
      if (record === undefined) return DONE
      switch (record.stage) {
        case 'offered':
          await check(record)
          break
        case 'submitted':
          // An earlier run may have been killed before it sent this message.
          await queues.aggregation.send([{ id: record.id }])
          break
        case 'queued':
        case 'aggregated':
        case 'retried':
        case 'accepted':
        case 'failed':
          break
        default:
          record.stage satisfies never
      }
      return DONE
    },
    { concurrency: 1 },
  )
}
