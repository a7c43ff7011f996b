import type { Receipt } from '@ucanto/interface'
import {
  type AggregateAcceptSuccess,
  type DealInfoSuccess,
  type Failure,
  type PieceLink,
  Tasks,
} from '@w3filecoin/capabilities'
import { type Consumer, DONE, each, type Outcome, reach, type Stored } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import type { AggregateRecord } from '../domain/aggregate.ts'
import { liveDeal } from '../domain/deal.ts'
import { documentName } from '../domain/offer-document.ts'
import { settleAggregate } from '../failure.ts'
import { type ReportMessage, type TrackMessage, trackMessage } from '../queues.ts'

/**
 * On `track`, ask the deal tracker about aggregates, all in one message; where a deal is live, end the aggregate's
 * workflow, and hand the receipt to its aggregator. One that is in no deal in time is reported as those who make deals
 * would: to end it takes as much time and memory as one run has. The others are asked about again, by their records'
 * times.
 */
export const onTrack = (
  parts: Pick<
    Dependencies,
    | 'id'
    | 'stores'
    | 'queues'
    | 'aggregators'
    | 'dealTracker'
    | 'timing'
    | 'batching'
    | 'now'
    | 'random'
    | 'log'
  >,
): Consumer<TrackMessage> => {
  const { id, stores, queues, dealTracker, timing, now, random, log } = parts
  const ask = async (records: Stored<AggregateRecord>[]) => {
    const questions = records.map(({ aggregate }) =>
      Tasks.dealInfo(id, dealTracker.principal, { piece: linkOf(aggregate), nonce: random() }),
    )
    return dealTracker.execute(await Promise.all(questions))
  }

  const acceptedOutcome = ({ aggregate }: AggregateRecord, dealID: number): Outcome => {
    const success: AggregateAcceptSuccess = {
      aggregate: linkOf(aggregate),
      dataType: 0,
      dataSource: { dealID },
    }
    return { out: { ok: success } }
  }

  const overdueReport = (record: AggregateRecord): ReportMessage => {
    const days = Number((timing.dealWaitMs / 86_400_000).toPrecision(2))
    return {
      offer: documentName(record),
      message: `No deal was made for ${record.aggregate} within ${days} days`,
      invalid: [],
    }
  }

  const take = async (record: Stored<AggregateRecord>, answer: Receipt) => {
    const refusal = answer.out.error as Failure | undefined
    if (refusal && refusal.name !== 'DealNotFound') {
      log('warn', 'deal tracker refused', { aggregate: record.aggregate, refusal })
      return
    }
    const deal = answer.out.ok && liveDeal(answer.out.ok as DealInfoSuccess)
    if (deal !== undefined) await settleAggregate(parts, record, acceptedOutcome(record, deal))
    else if (now() - record.offeredAt >= timing.dealWaitMs) await queues.report.send([overdueReport(record)])
  }

  return each(
    trackMessage,
    async ({ aggregates }) => {
      const found = await stores.aggregate.getMany(aggregates.map(id => ({ id })))
      const waiting = found.filter(record => record?.stage === 'offered') as Stored<AggregateRecord>[]
      if (waiting.length === 0) return DONE
      const answers = await reach(dealTracker, () => ask(waiting), log)
      await pMap(
        answers.ok ?? [],
        async (answer, n) => {
          const record = waiting[n] as Stored<AggregateRecord>
          if (answer.ok) await take(record, answer.ok)
          else
            log('warn', 'deal tracker did not answer', { aggregate: record.aggregate, reason: answer.error })
        },
        { concurrency: 10 },
      )
      return DONE
    },
    { concurrency: 1 },
  )
}

const linkOf = (text: string) => parseLink(text) as unknown as PieceLink
