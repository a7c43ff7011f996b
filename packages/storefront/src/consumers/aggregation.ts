import { isDelegation } from '@ucanto/core/delegation'
import type { Invocation, Receipt } from '@ucanto/interface'
import { type Failure, failure } from '@w3filecoin/capabilities'
import {
  type Consumer,
  catchErrors,
  DONE,
  type Handled,
  reach,
  type Stored,
  unpackTask,
  update,
} from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import { markQueued, type PieceRecord, recordProblem } from '../domain/piece.ts'
import { type AggregationMessage, aggregationMessage } from '../queues.ts'
import { endPiece, recordAggregation } from '../receipts.ts'

/** Refusals of a piece that will not be others one day. */
const LASTING = new Set(['InvalidPieceCID', 'ProofNotFound'])

type Parts = Pick<
  Dependencies,
  'id' | 'stores' | 'queues' | 'aggregator' | 'dealer' | 'timing' | 'now' | 'log'
>

/**
 * On `pieceOffer`, offer the pieces to the aggregator, all in one message, and note what it promises. Of those
 * that were offered already, fetch the receipt, should it not have arrived; of those that the dealer offers again, see
 * what the aggregator promised it. An aggregator that can not be reached is asked again by the record's time.
 */
export const onAggregation = (parts: Parts): Consumer<AggregationMessage> => {
  const { stores, aggregator, timing, now, log } = parts

  /** It goes right later, or people mend it: the record says what is wrong, and when to ask again. */
  const trouble = async (record: Stored<PieceRecord>, message: string): Promise<Handled> => {
    await update(stores.piece, { id: record.id }, current =>
      recordProblem(current, record.stage, message, now(), timing),
    )
    return DONE
  }

  /** What the aggregator says to the offer of a piece. */
  const note = async (record: Stored<PieceRecord>, { ran, out, fx: { join } }: Receipt): Promise<Handled> => {
    if (join) {
      // The answer to our own offer need not hold it; one that the dealer made, and we fetched, does.
      const { nonce } = isDelegation(ran as never) ? (ran as Invocation) : record
      await update(stores.piece, { id: record.id }, current =>
        markQueued(current, { waitsFor: `${join.link()}`, nonce }, now(), timing),
      )
      return DONE
    }
    const { name, message } = (out.error ?? { name: '', message: 'It promises nothing' }) as Failure
    // A refusal that was fetched was filed, and what is filed stays so.
    if (record.stage !== 'retried' && !LASTING.has(name)) {
      log('warn', 'piece refused', { piece: record.piece, name, message })
      return trouble(record, `The aggregator refuses the piece: ${message}`)
    }
    const error =
      name === 'InvalidPieceCID'
        ? failure('InvalidContentPiece', message, { content: parseLink(record.content) })
        : failure('ProofNotFound', message)
    await endPiece(parts, record, { error })
    return DONE
  }

  /** Looks for a receipt of the aggregator. */
  const look = async (
    record: Stored<PieceRecord>,
    task: string,
    take: (receipt: Receipt) => Promise<unknown>,
  ): Promise<Handled> => {
    const receipt = await reach(aggregator, () => aggregator.receipt(task), log)
    if (receipt.error) return trouble(record, receipt.error.message)
    if (receipt.ok) await take(receipt.ok)
    return DONE
  }

  return {
    decode: aggregationMessage.decode,
    handle: async messages => {
      const records = await stores.piece.getMany(messages.map(({ id }) => ({ id })))
      const offers = new Map<string, Stored<PieceRecord>>()
      for (const record of records) if (record?.stage === 'submitted') offers.set(record.id, record)
      const tasks = await Promise.all(
        [...offers.values()].map(record => unpackTask(record.pieceOfferTask as Uint8Array)),
      )
      const answers =
        tasks.length === 0 ? { ok: [] } : await reach(aggregator, () => aggregator.execute(tasks), log)
      const answered = new Map(
        [...offers.keys()].map((id, n) => [id, answers.error ? answers : answers.ok[n]]),
      )
      return pMap(
        records,
        record =>
          catchErrors(async () => {
            if (record?.stage === 'queued')
              return look(record, record.waitsFor as string, receipt =>
                recordAggregation(parts, record, receipt),
              )
            if (record?.stage === 'retried')
              return look(record, record.retryOfferCid as string, receipt => note(record, receipt))
            const answer = record && answered.get(record.id)
            if (record === undefined || answer === undefined) return DONE
            return answer.error ? trouble(record, answer.error.message) : note(record, answer.ok)
          }),
        { concurrency: 10 },
      )
    },
  }
}
