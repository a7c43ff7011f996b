import {
  type AggregateAcceptSuccess,
  type Failure,
  findLivePlaces,
  type LivePlace,
  parsePieceLink,
  toMetadata,
} from '@w3filecoin/capabilities'
import { type Consumer, DONE, each, listAll, type Outcome, type Stored, update } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import { type AggregateRecord, isFinal, markWaiting } from '../domain/aggregate.ts'
import { countCopies, findDeal } from '../domain/credit.ts'
import { explainWait, isOverdue } from '../domain/deadline.ts'
import { documentName } from '../domain/offer-document.ts'
import { explainOrders } from '../domain/order.ts'
import { policyFor, targetsOf } from '../domain/policy.ts'
import { startOrders } from '../orders/start-orders.ts'
import { type ReportMessage, type TrackMessage, trackMessage } from '../queues.ts'
import { askTracker, type TrackerAnswer } from '../settlement/ask-tracker.ts'
import { creditDeal, readClaims } from '../settlement/credit-deal.ts'
import { settleAggregate } from '../settlement/settle-aggregate.ts'

/**
 * On `track`, ask the deal tracker about aggregates, in one HTTP message. An offer is accepted with a live place that is
 * credited to it, if as many copies are live as its policy wants. For an offer that has waited too long, this sends a report as deal making would: failing one aggregate
 * takes as much time and memory as one run has. An offer does not fail while a deal may be live that the tracker does not
 * know, or while an order of a copy is open: its record says why it still waits. The sweep asks about the remaining aggregates again.
 */
export const onTrack = (
  dependencies: Pick<
    Dependencies,
    | 'id'
    | 'stores'
    | 'queues'
    | 'aggregators'
    | 'dealTracker'
    | 'policies'
    | 'targets'
    | 'timing'
    | 'batching'
    | 'now'
    | 'random'
    | 'log'
  >,
): Consumer<TrackMessage> => {
  const { stores, queues, policies, targets, timing, now, log } = dependencies

  const createOverdueReport = (record: AggregateRecord): ReportMessage => {
    const days = Number((timing.dealWaitMs / 86_400_000).toPrecision(2))
    return {
      offer: documentName(record),
      message: `No copy of ${record.aggregate} was live on chain within ${days} days`,
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

  const handleRefusal = (record: Stored<AggregateRecord>, { name, message }: Failure): Promise<void> => {
    if (name === 'PeerUnreachable') return keepWaiting(record, 'the deal tracker does not answer', message)
    const reason = `the deal tracker refuses to answer: ${name}: ${message}`
    return keepWaiting(record, reason, reason)
  }

  const handleAnswer = async (
    record: Stored<AggregateRecord>,
    { deals, places, asOf }: TrackerAnswer,
  ): Promise<void> => {
    const policy = policyFor(policies, record)
    const claims = await readClaims(dependencies, record, findLivePlaces({ deals, places }, policy.places))
    const deal = findDeal(record, claims, now())
    const live = deal ? countCopies(record, claims) : 0
    if (deal && live >= policy.minLive) {
      // If another offer was faster, the next check finds another deal, or none.
      if (await creditDeal(dependencies, record, deal, claims))
        await settleAggregate(dependencies, record, createSuccessOutcome(record, deal))
      return
    }
    const hasTargets = targetsOf(policy, targets).length > 0
    const orders =
      hasTargets || isOverdue(record, now(), timing) ? await listAll(stores.order, record.id) : []
    // There was no target when it was offered.
    if (hasTargets && orders.length === 0 && (await startOrders(dependencies, record))) return
    if (deal) return keepWaiting(record, `${live} of the ${policy.minLive} copies that it must have are live`)
    const reason =
      explainOrders(orders, policy) ??
      explainWait(record, claims, { places, asOf }, policy.places, now(), timing)
    if (reason === undefined) await queues.report.send([createOverdueReport(record)])
    else await keepWaiting(record, reason)
  }

  return each(
    trackMessage,
    async ({ aggregates }) => {
      const found = await stores.aggregate.getMany(aggregates.map(id => ({ id })))
      const waiting = found.filter(record => record !== undefined).filter(record => !isFinal(record))
      if (waiting.length === 0) return DONE
      const answers = await askTracker(
        dependencies,
        waiting.map(({ aggregate }) => aggregate),
      )
      await pMap(
        waiting,
        (record, n) => {
          const { ok, error } = answers[n]!
          return error ? handleRefusal(record, error) : handleAnswer(record, ok)
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
