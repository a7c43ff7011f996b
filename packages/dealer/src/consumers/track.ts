import type { Receipt } from '@ucanto/interface'
import {
  type AggregateAcceptSuccess,
  type DealInfoSuccess,
  type Failure,
  findLivePlaces,
  type LivePlace,
  parsePieceLink,
  toMetadata,
} from '@w3filecoin/capabilities'
import {
  type Consumer,
  DONE,
  each,
  type Outcome,
  reach,
  type Stored,
  trackerQuestion,
  update,
} from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import { type AggregateRecord, isFinal, markWaiting } from '../domain/aggregate.ts'
import { findDeal } from '../domain/credit.ts'
import { explainWait, isOverdue } from '../domain/deadline.ts'
import { documentName } from '../domain/offer-document.ts'
import { type ReportMessage, type TrackMessage, trackMessage } from '../queues.ts'
import { creditDeal, readClaims } from '../settlement/credit-deal.ts'
import { settleAggregate } from '../settlement/settle-aggregate.ts'

/**
 * On `track`, ask the deal tracker about aggregates, in one HTTP message. An offer is accepted with a live deal that is
 * credited to it. For an offer that has waited too long, this sends a report as deal making would: failing one aggregate
 * takes as much time and memory as one run has. An offer does not fail while a deal may be live that the tracker does not
 * know: its record says why it still waits. The sweep asks about the remaining aggregates again.
 */
export const onTrack = (
  dependencies: Pick<
    Dependencies,
    | 'id'
    | 'stores'
    | 'queues'
    | 'aggregators'
    | 'dealTracker'
    | 'placeTypes'
    | 'timing'
    | 'batching'
    | 'now'
    | 'random'
    | 'log'
  >,
): Consumer<TrackMessage> => {
  const { id, stores, queues, dealTracker, placeTypes, timing, now, random, log } = dependencies
  const askTracker = async (records: readonly AggregateRecord[]) => {
    const questions = records.map(({ aggregate }) =>
      trackerQuestion(id, dealTracker, { piece: parsePieceLink(aggregate), nonce: random() }),
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

  /** Records why an offer waits, if its deadline is over, and a problem with the deal tracker. */
  const keepWaiting = async (
    record: Stored<AggregateRecord>,
    reason: string,
    problem?: string,
  ): Promise<void> => {
    const waitsFor = isOverdue(record, now(), timing) ? reason : undefined
    if (waitsFor !== undefined) log('warn', 'aggregate waits', { aggregate: record.aggregate, waitsFor })
    if (waitsFor === record.waitsFor && problem === undefined && record.trouble === undefined) return
    await update(stores.aggregate, { id: record.id }, current =>
      markWaiting(current, { waitsFor, problem }, now(), timing),
    )
  }

  const handleAnswer = async (record: Stored<AggregateRecord>, answer: Receipt): Promise<void> => {
    const refusal = answer.out.error as Failure | undefined
    if (refusal && refusal.name !== 'DealNotFound') {
      log('warn', 'deal tracker refused', {
        ...dealTracker.address,
        aggregate: record.aggregate,
        refusal,
      })
      const reason = `the deal tracker refuses to answer: ${refusal.name}: ${refusal.message}`
      return keepWaiting(record, reason, reason)
    }
    const {
      deals = {},
      places = [],
      asOf = [],
    } = (answer.out.ok ?? answer.out.error) as Partial<DealInfoSuccess>
    const claims = await readClaims(dependencies, record, findLivePlaces({ deals, places }, placeTypes))
    const deal = findDeal(record, claims, now())
    if (deal) {
      // If another offer was faster, the next check finds another deal, or none.
      if (await creditDeal(dependencies, record, deal, claims))
        await settleAggregate(dependencies, record, createSuccessOutcome(record, deal))
      return
    }
    const reason = explainWait(record, claims, { places, asOf }, placeTypes, now(), timing)
    if (reason === undefined) await queues.report.send([createOverdueReport(record)])
    else await keepWaiting(record, reason)
  }

  return each(
    trackMessage,
    async ({ aggregates }) => {
      const found = await stores.aggregate.getMany(aggregates.map(id => ({ id })))
      const waiting = found.filter(record => record !== undefined).filter(record => !isFinal(record))
      if (waiting.length === 0) return DONE
      const answers = await reach(dealTracker, () => askTracker(waiting), log)
      await pMap(
        waiting,
        async (record, n) => {
          const answer = answers.ok?.[n]
          if (answer?.ok) return handleAnswer(record, answer.ok)
          if (answer?.error)
            log('warn', 'deal tracker did not answer', {
              ...dealTracker.address,
              aggregate: record.aggregate,
              reason: answer.error,
            })
          const problem = (answers.error ?? answer?.error)?.message ?? 'The deal tracker gives no answer'
          return keepWaiting(record, 'the deal tracker does not answer', problem)
        },
        { concurrency: 10 },
      )
      return DONE
    },
    { concurrency: 1 },
  )
}

const createSuccessOutcome = ({ aggregate }: AggregateRecord, { place, epoch }: LivePlace): Outcome => {
  const success: AggregateAcceptSuccess = {
    aggregate: parsePieceLink(aggregate),
    ...toMetadata(place, epoch),
  }
  return { out: { ok: success } }
}
