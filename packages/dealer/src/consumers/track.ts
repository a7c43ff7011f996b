import type { Receipt } from '@ucanto/interface'
import {
  type AggregateAcceptSuccess,
  type DealInfoSuccess,
  type Failure,
  parsePieceLink,
  Tasks,
} from '@w3filecoin/capabilities'
import { type Consumer, DONE, each, type Outcome, reach, type Stored } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import { type AggregateRecord, isFinal } from '../domain/aggregate.ts'
import { findLiveDeal } from '../domain/live-deal.ts'
import { documentName } from '../domain/offer-document.ts'
import { type ReportMessage, type TrackMessage, trackMessage } from '../queues.ts'
import { settleAggregate } from '../settlement/settle-aggregate.ts'

/**
 * On `track`, ask the deal tracker about aggregates, in one HTTP message. An aggregate with a live deal is accepted.
 * For an aggregate that has waited too long, this sends a report as deal making would: failing one aggregate takes as
 * much time and memory as one run has. The sweep asks about the remaining aggregates again.
 */
export const onTrack = (
  dependencies: Pick<
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
  const { id, stores, queues, dealTracker, timing, now, random, log } = dependencies
  const askTracker = async (records: readonly AggregateRecord[]) => {
    const questions = records.map(({ aggregate }) =>
      Tasks.dealInfo(id, dealTracker.principal, { piece: parsePieceLink(aggregate), nonce: random() }),
    )
    return dealTracker.execute(await Promise.all(questions))
  }

  const createOverdueReport = (record: AggregateRecord): ReportMessage => {
    const days = Number((timing.dealWaitMs / 86_400_000).toPrecision(2))
    return {
      offer: documentName(record),
      message: `No deal was made for ${record.aggregate} within ${days} days`,
      invalid: [],
    }
  }

  const handleAnswer = async (record: Stored<AggregateRecord>, answer: Receipt): Promise<void> => {
    const refusal = answer.out.error as Failure | undefined
    if (refusal && refusal.name !== 'DealNotFound') {
      log('warn', 'deal tracker refused', { aggregate: record.aggregate, refusal })
      return
    }
    const dealID = answer.out.ok && findLiveDeal(answer.out.ok as DealInfoSuccess)
    if (dealID !== undefined)
      await settleAggregate(dependencies, record, createSuccessOutcome(record, dealID))
    else if (now() - record.offeredAt >= timing.dealWaitMs)
      await queues.report.send([createOverdueReport(record)])
  }

  return each(
    trackMessage,
    async ({ aggregates }) => {
      const found = await stores.aggregate.getMany(aggregates.map(id => ({ id })))
      const waiting = found.filter(record => record !== undefined).filter(record => !isFinal(record))
      if (waiting.length === 0) return DONE
      const answers = await reach(dealTracker, () => askTracker(waiting), log)
      await pMap(
        answers.ok ?? [],
        async (answer, n) => {
          const record = waiting[n] as Stored<AggregateRecord>
          if (answer.ok) await handleAnswer(record, answer.ok)
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

const createSuccessOutcome = ({ aggregate }: AggregateRecord, dealID: number): Outcome => {
  const success: AggregateAcceptSuccess = {
    aggregate: parsePieceLink(aggregate),
    dataType: 0,
    dataSource: { dealID },
  }
  return { out: { ok: success } }
}
