import type { Receipt } from '@ucanto/interface'
import { type Failure, failure, type Result, type Task } from '@w3filecoin/capabilities'
import {
  type Consumer,
  catchErrors,
  DONE,
  isExpectedTask,
  isTask,
  reach,
  type Stored,
  unpackTask,
  update,
} from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import { aggregatorWords, INVALID_PIECE } from '../dialects/aggregator-words.ts'
import { type PieceRecord, recordProblem } from '../domain/piece.ts'
import { type AggregationMessage, aggregationMessage } from '../queues.ts'
import { endPiece } from '../workflow/end-piece.ts'
import { promisedCid } from '../workflow/promises.ts'
import { pollGroup, queuePiece } from '../workflow/queue-piece.ts'

/** Refusals of our offer that the aggregator never takes back. */
const FINAL_REFUSALS = new Set([...INVALID_PIECE, 'ProofNotFound'])

/** Stored refusals of a retry: these, and one that names no failed aggregate, so that no other retry follows. */
const FINAL_RETRY_REFUSALS = new Set([...FINAL_REFUSALS, 'UnknownAggregate'])

/**
 * On `aggregation`, get pieces into an aggregate, by their stage:
 *
 * - `submitted`: offer them to the aggregator, in one request, and record the `piece/accept` that it promises
 * - `retried`: fetch the answer of the aggregator to the offer that the dealer repeated
 *
 * An unreachable aggregator is no reason to retry the message: the record schedules the next attempt.
 */
export const onAggregation = (
  dependencies: Pick<
    Dependencies,
    'id' | 'stores' | 'queues' | 'aggregator' | 'dealer' | 'timing' | 'now' | 'log'
  >,
): Consumer<AggregationMessage> => {
  const { id, stores, aggregator, dealer, timing, now, log } = dependencies
  const words = aggregatorWords(id, aggregator)

  /** Records a problem that time or an operator fixes, and schedules the next attempt. */
  const retryLater = async (record: Stored<PieceRecord>, message: string): Promise<void> => {
    await update(
      stores.piece,
      { id: record.id },
      current => recordProblem(current, record.stage, message, now(), timing),
      { known: record },
    )
  }

  /** Handles the receipt of a `piece/offer`. Its join must be the `piece/accept` of the aggregator for this piece. */
  const handleAnswer = async (
    record: Stored<PieceRecord>,
    { out, fx: { join } }: Receipt,
    { nonce, finalRefusals }: { nonce: string | undefined; finalRefusals: ReadonlySet<string> },
  ): Promise<void> => {
    const { piece } = record
    const expected = words.promised(record)
    if (out.error === undefined && isExpectedTask(join, expected)) {
      await queuePiece(dependencies, record, { waitsFor: `${join.cid}`, nonce })
      return
    }
    const { name, message } = (out.error ?? {
      name: '',
      message: `The answer does not promise ${expected.can}`,
    }) as Failure
    if (!finalRefusals.has(name)) {
      log('warn', 'piece refused', { ...aggregator.address, piece, refusal: { name, message } })
      await retryLater(record, `The aggregator refuses the piece: ${message}`)
      return
    }
    const error = INVALID_PIECE.has(name)
      ? failure('InvalidContentPiece', message, { content: parseLink(record.content) })
      : failure('ProofNotFound', message)
    await endPiece(dependencies, record, { error })
  }

  /** Handles the stored answer to the `piece/offer` by which the dealer retries a piece. */
  const handleRetry = async (record: Stored<PieceRecord>, receipt: Receipt): Promise<void> => {
    const { piece, group } = record
    const { ran } = receipt
    const expected = { can: 'piece/offer', issuer: dealer, audience: aggregator.did, nb: { piece, group } }
    if (!isExpectedTask(ran, expected)) {
      log('error', 'receipt decides nothing', { ...aggregator.address, piece, task: `${ran.link()}` })
      await retryLater(record, 'The dealer did not retry the piece')
      return
    }
    await handleAnswer(record, receipt, { nonce: ran.nonce, finalRefusals: FINAL_RETRY_REFUSALS })
  }

  /** Fetches a receipt of the aggregator, and handles it if it exists. */
  const fetchReceipt = async (
    record: Stored<PieceRecord>,
    task: string,
    handle: (receipt: Receipt) => Promise<void>,
  ): Promise<void> => {
    const { ok: receipt, error } = await reach(aggregator, () => aggregator.receipt(task), log)
    if (error) await retryLater(record, error.message)
    else if (receipt) await handle(receipt)
  }

  /** Offers pieces in one request. Returns the answer to each, by record key. */
  const offerPieces = async (
    records: readonly Stored<PieceRecord>[],
  ): Promise<Map<string, Result<Receipt> | undefined>> => {
    if (records.length === 0) return new Map()
    const tasks = await readOffers(stores, records)
    const answers = await reach(aggregator, () => aggregator.execute(tasks), log)
    return new Map(records.map(({ id }, n) => [id, answers.error ? answers : answers.ok[n]]))
  }

  /** @param answer the answer to the offer of a `submitted` piece */
  const advance = async (record: Stored<PieceRecord>, answer: Result<Receipt> | undefined): Promise<void> => {
    switch (record.stage) {
      case 'submitted':
        if (answer?.error) await retryLater(record, answer.error.message)
        else if (answer)
          await handleAnswer(record, answer.ok, { nonce: record.nonce, finalRefusals: FINAL_REFUSALS })
        return
      case 'retried':
        return fetchReceipt(record, record.retryOfferCid as string, receipt => handleRetry(record, receipt))
      case 'offered':
      case 'queued':
      case 'aggregated':
      case 'accepted':
      case 'failed':
        return
      default:
        record.stage satisfies never
    }
  }

  return {
    decode: aggregationMessage.decode,
    handle: async messages => {
      const records = await stores.piece.getMany(messages.map(({ id }) => ({ id })))
      // By key: a batch may contain a message twice.
      const submitted = new Map(
        records
          .filter(record => record !== undefined)
          .filter(({ stage }) => stage === 'submitted')
          .map(record => [record.id, record]),
      )
      const answers = await offerPieces([...submitted.values()])
      const groups = new Set(records.flatMap(record => record?.group ?? []))
      await pMap(groups, group => pollGroup(dependencies, group), { concurrency: 10 })
      return pMap(
        records,
        record =>
          catchErrors(async () => {
            if (record) await advance(record, answers.get(record.id))
            return DONE
          }),
        { concurrency: 10 },
      )
    },
  }
}

/** Returns the `piece/offer` that the receipt of `filecoin/submit` of each submitted piece promises. */
const readOffers = async (
  { receipts }: Pick<Dependencies['stores'], 'receipts'>,
  records: readonly PieceRecord[],
): Promise<Task[]> => {
  const submits = await Promise.all(records.map(record => promisedCid(record, 'submit')))
  const promised = await receipts.getMany(submits)
  return Promise.all(
    records.map(async ({ pieceOfferTask }, n) => {
      if (pieceOfferTask) return unpackTask(pieceOfferTask)
      const { join } = promised[n]?.fx ?? {}
      if (join === undefined || !isTask(join))
        throw new Error(`The receipt of ${submits[n]} does not promise to offer the piece`)
      return join
    }),
  )
}
