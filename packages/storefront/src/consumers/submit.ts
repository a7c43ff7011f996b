import { type Failure, failure, parsePieceLink, type Task } from '@w3filecoin/capabilities'
import {
  type Consumer,
  catchErrors,
  DONE,
  issueReceipt,
  type Outcome,
  type Stored,
  translationsOf,
  update,
} from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import { aggregatorWords } from '../dialects/aggregator-words.ts'
import {
  contentDeadline,
  isPostponed,
  markSubmitted,
  type PieceRecord,
  postpone,
  recordProblem,
} from '../domain/piece.ts'
import { type SubmitMessage, submitMessage } from '../queues.ts'
import { type Claim, claimOf, isCrowded } from '../workflow/claim-content.ts'
import { endPiece } from '../workflow/end-piece.ts'
import { type Finding, findPiece } from '../workflow/find-piece.ts'
import { readPromises } from '../workflow/promises.ts'

/**
 * On `submit`, read the content. If it hashes to the piece, promise to offer the piece to the aggregator; if it hashes to
 * another one, end the workflow. Retry content that does not exist or cannot be read, with backoff, and abandon it in the
 * end. Beyond some seconds, one run reads a content at a time, and the contents of one owner have a limited number of runs: a
 * message without a turn returns to the queue with a delay.
 */
export const onSubmit = (
  dependencies: Pick<
    Dependencies,
    'id' | 'stores' | 'queues' | 'content' | 'aggregator' | 'timing' | 'now' | 'log'
  >,
): Consumer<SubmitMessage> => {
  const { id, stores, queues, aggregator, timing, now } = dependencies

  const outcomeOfSubmit = async (record: Stored<PieceRecord>, finding: Finding): Promise<Outcome> => {
    const piece = parsePieceLink(record.piece)
    switch (finding.verdict) {
      case undefined:
        return {
          out: {
            error: failure('ContentNotFound', finding.problem, { content: parseLink(record.content) }),
          },
        }
      case 'mismatch':
        return { out: { error: failure('InvalidPieceCID', finding.message, { piece }) } }
      case 'match': {
        const { group, nonce } = record
        const join = await aggregatorWords(id, aggregator).offer({ piece, group, nonce })
        return { out: { ok: { piece } }, fx: { join } }
      }
    }
  }

  /** Sends the piece back to the queue, because its content cannot be read now. */
  const sendBack = async (record: Stored<PieceRecord>): Promise<void> => {
    const { record: current, changed } = await update(stores.piece, { id: record.id }, current =>
      postpone(current, now(), timing),
    )
    const until = current?.postponed?.until
    if (!changed || until === undefined) return
    await queues.submit.send([{ id: record.id }], { delaySeconds: Math.ceil((until - now()) / 1000) })
  }

  const check = async (record: Stored<PieceRecord>, longRead: LongRead): Promise<void> => {
    // It had no turn before, so reading it takes long. Other contents of a crowded owner are begun: most are read at once.
    if (record.postponed && (await isCrowded(dependencies, record))) {
      await sendBack(record)
      return
    }
    const claim = longRead.of(claimOf(dependencies, record))
    let finding: Finding | undefined
    try {
      finding = await findPiece(dependencies, record, claim)
      // Before the receipt: providers fetch the content of a submitted piece.
      if (finding?.verdict === 'match') await finding.keep?.()
    } finally {
      await claim.release()
    }
    if (finding === undefined) await sendBack(record)
    else await settle(record, finding)
  }

  const settle = async (record: Stored<PieceRecord>, finding: Finding): Promise<void> => {
    // An offer may have renewed the wait during the read.
    const current = (finding.verdict === undefined && (await stores.piece.get({ id: record.id }))) || record
    if (finding.verdict === undefined && now() < contentDeadline(current, timing)) {
      const { problem, found } = finding
      await update(stores.piece, { id: record.id }, current =>
        recordProblem(current, 'offered', problem, now(), timing, found),
      )
      return
    }
    const [submit] = (await readPromises(stores, [record], 'submit')) as [Task]
    // Follow the stored receipt: an earlier run may have stored another one, e.g. signed with a former key.
    const { out } = await stores.receipts.put(
      await issueReceipt(id, submit, await outcomeOfSubmit(record, finding)),
    )
    if (out.error) await end(record, out.error as Failure)
    else await passOn(record)
  }

  const passOn = async (record: Stored<PieceRecord>): Promise<void> => {
    const { record: current } = await update(
      stores.piece,
      { id: record.id },
      current => markSubmitted(current, now(), timing),
      { known: record },
    )
    await queues.aggregation.send([{ id: record.id }])
    await queues.translate.send(translationsOf(current))
  }

  const end = async (record: Stored<PieceRecord>, reason: Failure): Promise<void> => {
    const current = await endPiece(dependencies, record, {
      error:
        reason.name === 'InvalidPieceCID'
          ? failure('InvalidContentPiece', reason.message, { content: parseLink(record.content) })
          : reason,
    })
    await queues.translate.send(translationsOf(current))
  }

  const advance = async (record: Stored<PieceRecord>, longRead: LongRead): Promise<void> => {
    switch (record.stage) {
      case 'offered':
        // If it is postponed, its own message arrives later.
        if (!isPostponed(record, now())) await check(record, longRead)
        return
      case 'submitted':
        // An earlier run may have been killed before it sent this message.
        await queues.aggregation.send([{ id: record.id }])
        return
      case 'queued':
      case 'aggregated':
      case 'retried':
      case 'accepted':
      case 'failed':
        return
      default:
        record.stage satisfies never
    }
  }

  return {
    decode: submitMessage.decode,
    handle: async messages => {
      const records = await stores.piece.getMany(messages.map(({ id }) => ({ id })))
      // By key: a batch may contain a message twice.
      const distinct = new Map(records.map(record => [record?.id, record]))
      const longRead = new LongRead()
      const outcomes = new Map(
        await pMap(
          distinct,
          async ([id, record]) =>
            [
              id,
              await catchErrors(async () => {
                if (record) await advance(record, longRead)
                return DONE
              }),
            ] as const,
          { concurrency: MAX_PARALLEL_READS },
        ),
      )
      return records.map(record => outcomes.get(record?.id) ?? DONE)
    },
  }
}

/** Contents of one run that are read at the same time. */
const MAX_PARALLEL_READS = 5

/**
 * The one content that a run may read for longer than contents without a claim. The other ones of its batch have their turn in
 * another run: otherwise they would share the time and the processor of this one.
 */
class LongRead {
  #isTaken = false

  /** Returns the claim, which is refused if another content of this run has the long read. */
  of(claim: Claim): Claim {
    let isMine = false
    return {
      ...claim,
      hold: async () => {
        if (!isMine && this.#isTaken) return false
        this.#isTaken = true
        isMine = true
        const isHeld = await claim.hold()
        if (!isHeld) this.#isTaken = false
        return isHeld
      },
    }
  }
}
