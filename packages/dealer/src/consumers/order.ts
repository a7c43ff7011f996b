import {
  type Failure,
  failure,
  findLivePlaces,
  type PlaceStatus,
  parsePieceLink,
  toPlaceKey,
} from '@w3filecoin/capabilities'
import { type Consumer, DONE, each, listAll, type Stored, update } from '@w3filecoin/runtime'
import type { Dependencies, OpenTarget } from '../dependencies.ts'
import { type AggregateRecord, setLack } from '../domain/aggregate.ts'
import { toCreditKey } from '../domain/credit.ts'
import { isKnownUntil } from '../domain/deadline.ts'
import { findLack } from '../domain/missing-copies.ts'
import { documentName } from '../domain/offer-document.ts'
import {
  endOrder,
  findCandidates,
  isFailure,
  isFinal,
  isInFlight,
  isLive,
  isLost,
  markAsked,
  markLive,
  markUnseen,
  needsWhole,
  type OrderRecord,
  recordOrderProblem,
  recordStep,
  setStuck,
} from '../domain/order.ts'
import { hasRival, planOrders } from '../domain/plan-orders.ts'
import { isPausedNow, type Policy, policyFor } from '../domain/policy.ts'
import type { WholeRecord } from '../domain/whole.ts'
import { findOffers } from '../offers/find-offers.ts'
import { locateWhole } from '../offers/locate.ts'
import { claimPlace } from '../orders/claim-place.ts'
import { holdTarget } from '../orders/hold-target.ts'
import { type OrderMessage, orderMessage } from '../queues.ts'
import { askTracker, type TrackerAnswer } from '../settlement/ask-tracker.ts'
import { beginWhole } from '../wholes/begin-whole.ts'

/** A permit to fetch a whole is valid for this long after the deadline of the order. */
const PERMIT_MS = 24 * 60 * 60 * 1000

/** Everything that one run knows about the orders of an offer. */
interface Context {
  orders: readonly OrderRecord[]
  policy: Policy
  whole: WholeRecord | undefined
  /** The answer of the deal tracker, if it was asked and answered. */
  knowledge: TrackerAnswer | undefined
  isPaused: (name: string) => boolean
  /** Whether further copies are wanted: the offer has not failed. */
  isWanted: boolean
}

/**
 * On `order`, go on with the orders of one offer: ask the deal tracker for their places, take the next step of each with its target,
 * and order another copy where one ended or ends soon. The whole aggregate is filled when an order needs it.
 */
export const onOrder = (
  dependencies: Pick<
    Dependencies,
    | 'id'
    | 'stores'
    | 'queues'
    | 'wholes'
    | 'dealTracker'
    | 'policies'
    | 'pieceSources'
    | 'targets'
    | 'door'
    | 'keepWholeMs'
    | 'timing'
    | 'now'
    | 'random'
    | 'log'
  >,
): Consumer<OrderMessage> => {
  const { id, stores, queues, policies, targets, door, keepWholeMs, timing, now, log } = dependencies

  const change = async (
    order: Stored<OrderRecord>,
    apply: (current: Stored<OrderRecord>) => Stored<OrderRecord> | undefined,
  ): Promise<Stored<OrderRecord>> => {
    const { record } = await update(stores.order, { offer: order.offer, order: order.order }, apply, {
      known: order,
    })
    return record as Stored<OrderRecord>
  }
  const end = (order: Stored<OrderRecord>, stage: 'refused' | 'lost' | 'ended', reason: Failure) =>
    change(order, current => endOrder(current, stage, reason, now(), timing))

  /** Ends an order that was not sent. A concurrent run may have sent it: then it goes on. */
  const drop = (order: Stored<OrderRecord>, reason: Failure) =>
    change(order, current =>
      current.stage === 'planned' ? endOrder(current, 'refused', reason, now(), timing) : undefined,
    )

  const readPaused = async (): Promise<(name: string) => boolean> => {
    const rows = await stores.target.getMany(targets.map(({ name }) => ({ name })))
    const paused = new Set(rows.flatMap(row => (row && isPausedNow(row, now()) ? [row.name] : [])))
    return name => paused.has(name)
  }

  const hasRoom = async ({ name, maxInFlight }: OpenTarget): Promise<boolean> => {
    const { items } = await stores.order.find('inFlight', name, { limit: maxInFlight })
    return items.length < maxInFlight
  }

  /**
   * Makes the next request of an order to its target, and records the answer.
   *
   * @param isWanted whether the copy is still wanted: otherwise the target is only asked how the order stands
   */
  const advance = async (
    order: Stored<OrderRecord>,
    target: OpenTarget,
    isWanted: boolean,
  ): Promise<Stored<OrderRecord>> => {
    const { aggregate, deadline } = order
    const endMs = (deadline ?? now() + target.deadlineMs) + PERMIT_MS
    const progress = await target.maker.advance(
      { ...order, aggregate: parsePieceLink(aggregate) },
      isWanted ? await locateWhole({ id, door: door as string }, aggregate, endMs) : undefined,
    )
    if (progress.state === 'refused') {
      const { error, blames } = progress
      log('warn', 'order refused', { target: target.name, aggregate, order: order.id, error, blames })
      if (blames === 'target') await holdTarget(dependencies, target.name, error)
      return end(order, 'refused', error)
    }
    const { state, message, remote } = progress
    const place = progress.state === 'storing' && progress.place ? toPlaceKey(progress.place) : undefined
    // The chain names the place of this order: no other offer may be accepted with it.
    if (place !== undefined && !(await claimPlace(dependencies, order, place)))
      return end(order, 'lost', failure('PlaceTaken', `The place ${place} is credited to another offer`))
    const afterMs = progress.state === 'asked' ? progress.retryAfterMs : undefined
    return change(order, current =>
      recordStep(current, { stage: state, remote, place, progress: message, afterMs }, now(), timing),
    )
  }

  const goOn = async (order: Stored<OrderRecord>, context: Context): Promise<Stored<OrderRecord>> => {
    const { orders, policy, whole, knowledge, isPaused, isWanted } = context
    const target = targets.find(({ name }) => name === order.target)
    if (order.stage === 'planned') {
      if (target === undefined)
        return drop(order, failure('UnknownTarget', `The configuration has no target ${order.target}`))
      if (isPaused(target.name))
        return drop(order, failure('TargetPaused', `${target.name} takes no orders now`))
      if (hasRival(order, orders, policy, targets))
        return drop(order, failure('TargetTaken', `Another copy is, or will be, where ${target.name} is`))
      if (door === undefined)
        return change(order, current =>
          recordOrderProblem(
            current,
            'The configuration has no `door`, so targets cannot fetch aggregates',
            now(),
            timing,
          ),
        )
      if (whole?.stage === 'faulty')
        return drop(order, failure('WrongPiece', `The bytes of ${whole.fault!.piece} are wrong`))
      if (whole?.stage !== 'ready' || now() < order.notBefore || !(await hasRoom(target))) return order
      const asked = await change(order, current => markAsked(current, target, now(), timing))
      return asked.stage === 'asked' ? advance(asked, target, isWanted) : asked
    }
    const type = typeAt(order)
    const place = knowledge && (await findPlace(order, knowledge))
    if (order.stage === 'live') {
      if (place?.status === 'Terminated' || place?.status === 'Expired')
        return end(order, 'ended', failure('CopyEnded', describeEnd(place)))
      if (place) return change(order, current => markLive(current, place, now(), timing))
      return knowledge && isKnownUntil(knowledge, [type], order.stageAt, now())
        ? change(order, current => markUnseen(current, now(), timing))
        : order
    }
    if (place && isLive(place)) return change(order, current => markLive(current, place, now(), timing))
    if (knowledge && isLost(order, type, knowledge, now()))
      return end(
        order,
        'lost',
        failure('NoCopy', `No copy is live at ${order.target} after the deadline of the order`),
      )
    // Once the chain has named the place, only the chain can say more.
    if (target === undefined || door === undefined || order.place !== undefined) return order
    const next = await advance(order, target, isWanted)
    return next.place === undefined ? next : goOn(next, context)
  }

  /**
   * Searches the copy of an order that ended without one. Then the copy is paid, so the order is live, and no further one is made while
   * it is. Other orders at the provider come first: the place may be that of one in flight, also of another offer of the aggregate, and
   * copies must be distinct.
   */
  const findLateCopy = async (
    order: Stored<OrderRecord>,
    { orders, policy, knowledge }: Context,
  ): Promise<Stored<OrderRecord>> => {
    if (!isFailure(order) || hasRival(order, orders, policy, targets)) return order
    if (!knowledge?.places.some(place => isLive(place) && place.provider === order.provider)) return order
    const offers = await findOffers(dependencies, order.aggregate)
    const all = await Promise.all(offers.map(({ id }) => listAll(stores.order, id)))
    const mayMake = (other: OrderRecord) => other.provider === order.provider && isInFlight(other)
    if ([...orders, ...all.flat()].some(mayMake)) return order
    const place = await findPlace(order, knowledge)
    if (place === undefined || !isLive(place)) return order
    log('warn', 'ended order has a copy', { target: order.target, order: order.id, place: place.key })
    return change(order, current => markLive(current, place, now(), timing))
  }

  const typeAt = ({ target: name, provider }: OrderRecord): OpenTarget['place'] =>
    targets.find(target => target.name === name)?.place ?? (provider.startsWith('pdp:') ? 'pdp' : 'sector')

  /** Returns the place of an order: the one that it has, or else a live one that it may claim. */
  const findPlace = async (
    order: OrderRecord,
    { places }: TrackerAnswer,
  ): Promise<PlaceStatus | undefined> => {
    const type = typeAt(order)
    if (order.place !== undefined) return places.find(({ key }) => key === order.place)
    if (!places.some(({ provider }) => provider === order.provider)) return undefined
    // The maker names the place. Before the deadline, another one may be that of an order of another offer.
    if (type === 'pdp' && now() <= (order.deadline ?? Number.POSITIVE_INFINITY)) return undefined
    const keys = places.map(({ key }) => ({ deal: toCreditKey(key, order.aggregate) }))
    const credits = await stores.credit.getMany(keys)
    const known = credits.filter(credit => credit !== undefined)
    for (const place of findCandidates(order, type, { places }, known))
      if (await claimPlace(dependencies, order, place.key)) return place
    return undefined
  }

  /** Orders further copies where they are needed, and records where none can be ordered. */
  const planNext = async (
    record: AggregateRecord,
    orders: readonly Stored<OrderRecord>[],
    whole: WholeRecord | undefined,
  ): Promise<void> => {
    const obstacle = whole?.fault && `the bytes of the piece ${whole.fault.piece} are wrong`
    const context = { targets, isPaused: await readPaused(), obstacle }
    const plans = planOrders(record, orders, policyFor(policies, record), context, now())
    for (const { order } of plans) if (order) await stores.order.insert(order)
    for (const order of orders) {
      const stuck = plans.find(({ stuck }) => stuck?.last?.id === order.id)?.stuck?.reason
      if (order.stuck !== stuck) await change(order, current => setStuck(current, stuck, now(), timing))
    }
    if (plans.some(({ order }) => order)) await queues.order.send([{ offer: record.id }])
  }

  /** Records which copies an accepted aggregate lacks. The operator then sees them, and the alarm rings. */
  const judgeCopies = async (
    record: Stored<AggregateRecord>,
    orders: readonly OrderRecord[],
    knowledge: TrackerAnswer,
  ): Promise<void> => {
    const hasOtherPlace =
      !orders.some(({ place }) => place === record.place) &&
      findLivePlaces(knowledge).some(({ key }) => key === record.place)
    const policy = policyFor(policies, record)
    const lack = findLack({ aggregate: record, orders, policy, hasOtherPlace }, now())
    if (setLack(record, lack) === undefined) return
    await update(stores.aggregate, { id: record.id }, current => setLack(current, lack), { known: record })
    if (lack) log('warn', 'aggregate lacks copies', { aggregate: record.aggregate, lack })
  }

  return each(
    orderMessage,
    async ({ offer }) => {
      const record = await stores.aggregate.get({ id: offer })
      let orders = await listAll(stores.order, offer)
      if (record === undefined || orders.length === 0) return DONE
      const isPaused = await readPaused()

      if (record.stage === 'failed') {
        const reason = failure('AggregateFailed', `${record.aggregate} failed`)
        for (const order of orders) {
          const last = order.stage === 'planned' ? await drop(order, reason) : order
          if (last.stuck !== undefined)
            await change(last, current => setStuck(current, undefined, now(), timing))
        }
        orders = await listAll(stores.order, offer)
      }
      const whole = orders.some(needsWhole)
        ? await beginWhole(dependencies, record)
        : await stores.whole.get({ id: record.aggregate })
      if (whole?.stage === 'faulty' && record.stage === 'offered') {
        const { piece, message } = whole.fault!
        await queues.report.send([
          {
            offer: documentName(record),
            message: 'The bytes of a piece are wrong',
            invalid: [{ piece, message }],
          },
        ])
        return DONE
      }

      const isAsked = record.stage === 'accepted' || orders.some(({ deadline }) => deadline !== undefined)
      const [answer] = isAsked ? await askTracker(dependencies, [record.aggregate]) : []
      const wasLive = orders.filter(({ stage }) => stage === 'live').length
      // A target whose maker fails must not stop the orders at the other ones.
      const context: Context = {
        orders,
        policy: policyFor(policies, record),
        whole,
        knowledge: answer?.ok,
        isPaused,
        isWanted: record.stage !== 'failed',
      }
      const settled = await Promise.allSettled(
        orders.map(order => (isFinal(order) ? findLateCopy(order, context) : goOn(order, context))),
      )
      const failed = settled.find(result => result.status === 'rejected')
      const next = settled.map((result, n) => (result.status === 'fulfilled' ? result.value : orders[n]!))

      if (record.stage !== 'failed') await planNext(record, next, whole)
      if (record.stage === 'accepted' && answer?.ok) await judgeCopies(record, next, answer.ok)
      const hasMoreLive = next.filter(({ stage }) => stage === 'live').length > wasLive
      // Otherwise the daily check of the whole removes it.
      if (hasMoreLive && keepWholeMs === 0 && !next.some(needsWhole))
        await queues.fill.send([{ aggregate: record.aggregate }])
      if (record.stage === 'offered' && hasMoreLive) await queues.track.send([{ aggregates: [offer] }])
      return failed ? { error: failed.reason as Error } : DONE
    },
    { concurrency: 1 },
  )
}

/** @example 'The place sector:f020378/77 is terminated since 2026-11-27T10:00:00.000Z: The sector was terminated' */
const describeEnd = ({ key, status, ended, expiration, reason }: PlaceStatus): string => {
  const since = status === 'Expired' ? expiration : ended
  return `The place ${key} is ${status.toLowerCase()}${since ? ` since ${since}` : ''}${reason ? `: ${reason}` : ''}`
}
