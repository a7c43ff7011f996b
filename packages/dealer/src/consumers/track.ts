import type { Receipt } from '@ucanto/interface'
import {
  type AggregateAcceptSuccess,
  type DealInfoSuccess,
  type Failure,
  type PieceLink,
  Tasks,
} from '@w3filecoin/capabilities'
import { type Consumer, DONE, each, issueReceipt, type Stored, unpackTask, update } from '@w3filecoin/service'
import { parse as parseLink } from 'multiformats/link'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import { type AggregateRecord, accepted } from '../domain/aggregate.ts'
import { liveDeal } from '../domain/deal.ts'
import { type TrackMessage, trackMessage } from '../queues.ts'

/**
 * On `track`, ask the deal tracker about aggregates, all in one message; where a deal is live, end the aggregate's
 * workflow, and hand the receipt to its aggregator. The others are asked about again, by their records' times.
 */
export const onTrack = ({
  id,
  stores,
  queues,
  dealTracker,
  now,
  random,
  log,
}: Pick<
  Dependencies,
  'id' | 'stores' | 'queues' | 'dealTracker' | 'now' | 'random' | 'log'
>): Consumer<TrackMessage> => {
  const ask = async (records: Stored<AggregateRecord>[]) => {
    const questions = records.map(({ aggregate }) =>
      Tasks.dealInfo(id, dealTracker.principal, { piece: linkOf(aggregate), nonce: random() }),
    )
    return dealTracker.execute(await Promise.all(questions))
  }

  const end = async (record: Stored<AggregateRecord>, dealID: number) => {
    const success: AggregateAcceptSuccess = {
      aggregate: linkOf(record.aggregate),
      dataType: 0,
      dataSource: { dealID },
    }
    const accept = await unpackTask(record.accept)
    await stores.receipts.put(await issueReceipt(id, accept, { out: { ok: success } }))
    await update(stores.aggregates, { id: record.id }, current => accepted(current, dealID, now()))
    await queues.conclude.send([{ to: record.aggregator, tasks: [`${accept.cid}`] }])
  }

  const take = async (record: Stored<AggregateRecord>, answer: Receipt) => {
    const refusal = answer.out.error as Failure | undefined
    if (refusal && refusal.name !== 'DealNotFound')
      log('warn', 'deal tracker refused', { aggregate: record.aggregate, refusal })
    const deal = answer.out.ok && liveDeal(answer.out.ok as DealInfoSuccess)
    if (deal !== undefined) await end(record, deal)
  }

  return each(
    body => trackMessage.parse(body),
    async ({ aggregates }) => {
      const found = await stores.aggregates.getMany(aggregates.map(id => ({ id })))
      const waiting = found.filter(record => record?.stage === 'offered') as Stored<AggregateRecord>[]
      if (waiting.length === 0) return DONE
      const answers = await ask(waiting)
      await pMap(
        answers,
        (answer, n) => {
          if (answer.error) throw new Error(answer.error.message)
          return take(waiting[n] as Stored<AggregateRecord>, answer.ok)
        },
        { concurrency: 10 },
      )
      return DONE
    },
    { concurrency: 1 },
  )
}

const linkOf = (text: string) => parseLink(text) as unknown as PieceLink
