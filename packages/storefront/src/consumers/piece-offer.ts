import type { Receipt } from '@ucanto/interface'
import type { Failure } from '@w3filecoin/capabilities'
import {
  type Consumer,
  DONE,
  type Stored,
  settled,
  type Taken,
  unpackTask,
  update,
} from '@w3filecoin/service'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import { type PieceRecord, queued } from '../domain/piece.ts'
import { type PieceOfferMessage, pieceOfferMessage } from '../queues.ts'
import { noteAggregate } from '../receipts.ts'

type Parts = Pick<
  Dependencies,
  'id' | 'stores' | 'queues' | 'aggregator' | 'dealer' | 'timing' | 'now' | 'log'
>

/**
 * On `pieceOffer`, offer the pieces to the aggregator, all in one message, and note what it promises. Of those
 * that were offered already, fetch the receipt, should it not have arrived.
 */
export const onPieceOffer = (parts: Parts): Consumer<PieceOfferMessage> => {
  const { stores, aggregator, timing, now, log } = parts

  const note = async (record: Stored<PieceRecord>, receipt: Receipt): Promise<Taken> => {
    const refusal = receipt.out.error as Failure | undefined
    const join = receipt.fx.join
    if (refusal?.name === 'HandlerExecutionError') return { error: refusal }
    if (refusal || join === undefined) {
      // It will not say otherwise at once; the record's time says when to ask again.
      log('warn', 'piece refused', { piece: record.piece, refusal })
      return DONE
    }
    await update(stores.pieces, { id: record.id }, current =>
      queued(current, `${join.link()}`, now(), timing),
    )
    return DONE
  }

  const fetchOutcome = async (record: Stored<PieceRecord>): Promise<Taken> => {
    const receipt = await aggregator.receipt(record.waitsFor as string)
    if (receipt) await noteAggregate(parts, record, receipt)
    return DONE
  }

  return {
    decode: body => pieceOfferMessage.parse(body),
    take: async messages => {
      const records = await stores.pieces.getMany(messages.map(({ id }) => ({ id })))
      const offers = new Map<string, Stored<PieceRecord>>()
      for (const record of records) if (record?.stage === 'submitted') offers.set(record.id, record)
      const tasks = await Promise.all(
        [...offers.values()].map(record => unpackTask(record.pieceOffer as Uint8Array)),
      )
      const answers = tasks.length === 0 ? [] : await aggregator.execute(tasks)
      const answered = new Map([...offers.keys()].map((id, n) => [id, answers[n]]))
      return pMap(
        records,
        record =>
          settled(async () => {
            if (record?.stage === 'queued') return fetchOutcome(record)
            const answer = record && answered.get(record.id)
            if (record === undefined || answer === undefined) return DONE
            return answer.error ? { error: answer.error } : note(record, answer.ok)
          }),
        { concurrency: 10 },
      )
    },
  }
}
