import { hash } from 'node:crypto'
import { dueAt } from '@w3filecoin/runtime'
import { isFailure, isFinal, isOpen, type OrderRecord, orderId, orderKey } from './order.ts'
import { canHold, labelOf, type Policy, type Target, targetsOf } from './policy.ts'

/** Pause before a target is asked again that failed with the same aggregate. */
const REPEAT_MS = 60 * 60 * 1000

/** Maximum number of attempts of a copy: they are numbered by four digits. */
const MAX_ATTEMPTS = 9_999

export interface OfferOfOrders {
  /** Record id of the offer. */
  id: string
  aggregate: string
  group: string
}

/** The next order of a copy that needs one; or why there is none. */
export type Plan = { order: OrderRecord; stuck?: undefined } | { order?: undefined; stuck: StuckCopy }

interface PlanContext {
  targets: readonly Target[]
  /** Whether a target takes no orders now. */
  isPaused: (name: string) => boolean
  /** Why no copy can be made now, whatever the target is. */
  obstacle?: string | undefined
}

interface StuckCopy {
  /** The order that tells of it: the last one of the copy, or of all copies if there was none. Absent if there was no order at all. */
  last: OrderRecord | undefined
  reason: string
}

/**
 * Returns the next order of each copy that needs one: its last order ended without a copy, or with a copy that is gone or ends
 * soon. A copy has at most one order in flight.
 *
 * @param orders all orders of the offer
 */
export const planOrders = (
  offer: OfferOfOrders,
  orders: readonly OrderRecord[],
  policy: Policy,
  { targets, isPaused, obstacle }: PlanContext,
  now: number,
): Plan[] => {
  const planned = [...orders]
  const plans: Plan[] = []
  for (let copy = 0; copy < policy.copies; copy++) {
    const earlier = planned.filter(order => order.copy === copy).toSorted((a, b) => a.attempt - b.attempt)
    const last = earlier.at(-1)
    if (earlier.some(order => !needsSuccessor(order, policy, now))) continue
    const failures = countFailures(earlier)
    const fit = targets.filter(target => canHold(target, offer.aggregate))
    const target = chooseTarget({ offer: offer.id, copy }, planned, policy, fit, isPaused)
    const reason =
      obstacle ??
      (failures >= policy.attempts
        ? `${failures} orders in a row had no success`
        : target === undefined
          ? 'no target is left that may store another copy'
          : undefined)
    if (target === undefined || reason !== undefined || earlier.length > MAX_ATTEMPTS) {
      plans.push({
        stuck: {
          last: last ?? planned.at(-1),
          reason: `copy ${copy} is not ordered: ${reason ?? 'it had too many orders'}`,
        },
      })
      continue
    }
    const failuresThere = earlier.filter(order => order.target === target.name && isFailure(order)).length
    const order = newOrder(
      { offer, copy, attempt: earlier.length },
      target,
      now + failuresThere * REPEAT_MS,
      now,
    )
    planned.push(order)
    plans.push({ order })
  }
  return plans
}

/** Whether a copy needs another order than this one: because it ended, or before its place ends. */
const needsSuccessor = (order: OrderRecord, { renewBeforeMs }: Policy, now: number): boolean =>
  order.stage === 'live'
    ? order.condition === 'leaving' || (order.endsAt !== undefined && now >= order.endsAt - renewBeforeMs)
    : isFinal(order)

/** Counts the orders without success after the last copy that was live, or the last pardon. */
const countFailures = (orders: readonly OrderRecord[]): number => {
  const ended = orders.findLastIndex(order => !isFailure(order) || order.isPardoned)
  return orders.length - 1 - ended
}

const newOrder = (
  { offer, copy, attempt }: { offer: OfferOfOrders; copy: number; attempt: number },
  target: Target,
  notBefore: number,
  now: number,
): OrderRecord => {
  const key = { offer: offer.id, copy, attempt }
  const id = orderId(key)
  return {
    ...key,
    order: orderKey(key),
    id,
    aggregate: offer.aggregate,
    group: offer.group,
    target: target.name,
    provider: target.provider,
    stage: 'planned',
    createdAt: now,
    stageAt: now,
    history: [{ stage: 'planned', at: now }],
    notBefore,
    ...dueAt(id, notBefore),
  }
}

/**
 * Whether another copy is at a target with the label of this planned order, or will be: two runs may have planned orders without knowing
 * each other's. Of two planned orders, the earlier one stays.
 *
 * @param orders all orders of the offer
 */
export const hasRival = (
  order: OrderRecord,
  orders: readonly OrderRecord[],
  policy: Policy,
  targets: readonly Target[],
): boolean => {
  const label = labelIn(targets, order, policy)
  return orders.some(
    other =>
      other.copy !== order.copy &&
      isOpen(other) &&
      labelIn(targets, other, policy) === label &&
      (other.stage !== 'planned' || isEarlier(other, order)),
  )
}

const isEarlier = (a: OrderRecord, b: OrderRecord): boolean =>
  a.createdAt < b.createdAt || (a.createdAt === b.createdAt && a.copy < b.copy)

/** Returns the label of the target of an order; of one that the configuration lacks, its name. */
const labelIn = (targets: readonly Target[], { target: name }: OrderRecord, policy: Policy): string => {
  const target = targets.find(target => target.name === name)
  return target ? labelOf(target, policy) : name
}

/**
 * Chooses the target of the next order of a copy: not one that is paused, nor one with the label of another copy. Targets at
 * which the fewest orders of this offer ended, or end soon, come first. Among equals, the hash of the offer decides, which spreads offers evenly and
 * moves few of them when a target is added.
 *
 * @param orders all orders of the offer
 * @param isPaused whether a target takes no orders now
 */
const chooseTarget = <T extends Target>(
  { offer, copy }: Pick<OrderRecord, 'offer' | 'copy'>,
  orders: readonly OrderRecord[],
  policy: Policy,
  targets: readonly T[],
  isPaused: (name: string) => boolean,
): T | undefined => {
  const used = new Set(
    orders
      .filter(order => order.copy !== copy && isOpen(order))
      .flatMap(order => {
        const target = targets.find(({ name }) => name === order.target)
        return target ? [labelOf(target, policy)] : []
      }),
  )
  // A live order of the copy itself is one that ends soon.
  const endedAt = (name: string) =>
    orders.filter(order => order.target === name && (isFinal(order) || order.copy === copy)).length
  return targetsOf(policy, targets)
    .filter(target => !isPaused(target.name) && !used.has(labelOf(target, policy)))
    .map(target => ({
      target,
      ended: endedAt(target.name),
      rank: hash('sha256', JSON.stringify([offer, target.name]), 'hex'),
    }))
    .toSorted((a, b) => a.ended - b.ended || (a.rank < b.rank ? -1 : 1))[0]?.target
}
