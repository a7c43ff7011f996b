import type { AggregateRecord, Lack } from './aggregate.ts'
import { isInFlight, type OrderRecord } from './order.ts'
import type { Policy } from './policy.ts'

const DAY_MS = 24 * 60 * 60 * 1000

/** Time for which fewer copies may be live than an aggregate must have: another provider needs about two days for a copy. */
const URGENT_MS = 3 * DAY_MS
/** Time for which copies beyond those may be missing, or a place may end without a successor that is live. */
const PATIENCE_MS = 14 * DAY_MS

/** The facts of an accepted aggregate on which its copies are judged. */
export interface Copies {
  aggregate: Pick<AggregateRecord, 'endedAt'>
  /** All orders of its offer. */
  orders: readonly OrderRecord[]
  policy: Pick<Policy, 'copies' | 'minLive'>
  /** Whether it is live at a place that no order made, e.g. in a deal of a broker. */
  hasOtherPlace: boolean
}

/**
 * Returns what an operator must know about the copies of an accepted aggregate: too few are live for too long, or a place ends soon and
 * its successor is not live. Returns `undefined` while the orders are in time.
 *
 * | live copies | too long |
 * |---|---|
 * | none | at once |
 * | fewer than `minLive` | 3 days |
 * | fewer than `copies` | 14 days |
 *
 * A place that ends needs a successor within 14 days of the order for it, and 3 days before its end.
 */
export const findLack = (copies: Copies, now: number): Lack | undefined =>
  findMissing(copies, now) ?? findEnding(copies, now)

const findMissing = ({ aggregate, orders, policy, hasOtherPlace }: Copies, now: number): Lack | undefined => {
  const { copies, minLive } = policy
  const seen = orders.filter(({ stage, condition }) => stage === 'live' && condition !== 'unseen')
  const liveCopies = new Set(seen.map(({ copy }) => copy))
  const live = liveCopies.size + (hasOtherPlace ? 1 : 0)
  const missingSince = Array.from({ length: copies }, (_, copy) => copy)
    .filter(copy => !liveCopies.has(copy))
    .map(copy => missesSince(copy, orders, aggregate.endedAt ?? now) ?? now)
    .toSorted((a, b) => a - b)
  const all = live + missingSince.length
  const levels: [least: number, graceMs: number][] = [
    [1, 0],
    [minLive, URGENT_MS],
    [copies, PATIENCE_MS],
  ]
  for (const [least, graceMs] of levels) {
    // So many copies may be missing: the next one made them too few.
    const since = missingSince[all - least]
    if (live < least && since !== undefined && now >= since + graceMs)
      return {
        problem: 'TooFewCopies',
        message: `${live} of ${copies} copies ${live === 1 ? 'is' : 'are'} live, fewer than ${least} since ${toDay(since)}`,
        at: since + graceMs,
      }
  }
  return undefined
}

/**
 * Since when a copy is missing that has no live order, in milliseconds since 1970: since the last one ended, or since the acceptance if it
 * was ordered by then. `undefined` if it was not ordered yet.
 */
const missesSince = (
  copy: number,
  orders: readonly OrderRecord[],
  acceptedAt: number,
): number | undefined => {
  const own = orders.filter(order => order.copy === copy)
  const first = own[0] && Math.max(acceptedAt, own[0].createdAt)
  return own.findLast(({ stage }) => stage === 'ended')?.stageAt ?? first
}

/** Finds a copy all of whose places end, and whose successor is late. */
const findEnding = ({ orders, policy: { copies } }: Copies, now: number): Lack | undefined => {
  for (const [copy, all] of Map.groupBy(orders, ({ copy }) => copy)) {
    const live = all.filter(({ stage }) => stage === 'live')
    const ends = live.flatMap(({ endsAt }) => endsAt ?? [])
    if (copy >= copies || live.length === 0 || ends.length < live.length) continue
    const endsAt = Math.max(...ends)
    const last = live.find(order => order.endsAt === endsAt) as OrderRecord
    const successors = all.filter(({ attempt }) => attempt > last.attempt)
    if (successors.length === 0 && now < endsAt - URGENT_MS) continue
    const orderedAt = Math.min(now, ...successors.map(({ createdAt }) => createdAt))
    const at = Math.min(orderedAt + PATIENCE_MS, endsAt - URGENT_MS)
    if (now < at) continue
    const next = successors.find(order => isInFlight(order))
    return {
      problem: 'CopyEnds',
      message: `copy ${copy} at ${last.target} ends on ${toDay(endsAt)}, and ${next ? `its successor at ${next.target} is not live` : 'it has no successor'}`,
      at,
    }
  }
  return undefined
}

/** @example toDay(1767225600000) // '2026-01-01' */
const toDay = (time: number): string => new Date(time).toISOString().slice(0, 10)
