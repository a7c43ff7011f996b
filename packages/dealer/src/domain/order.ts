import { type PlaceStatus, parsePlaceKey } from '@w3filecoin/capabilities'
import {
  addTrouble,
  backoffMs,
  type Due,
  dueAt,
  type Entered,
  isFromWrongClock,
  type Lane,
  notDue,
  type Reason,
  recordId,
  type Stored,
  stageRules,
  type Trouble,
  toReason,
} from '@w3filecoin/runtime'
import { type CreditRecord, findCredit } from './credit.ts'
import { isKnownUntil, type Knowledge } from './deadline.ts'
import type { Policy, Target } from './policy.ts'

/**
 * The stage of an order:
 *
 * - `planned`: the target was not asked yet
 * - `asked`: the target was asked, or is about to be; it may have the order
 * - `storing`: the target accepted it
 * - `live`: a copy is live at the target
 * - `refused`: the target does not store it
 * - `lost`: no copy is live after the deadline
 * - `ended`: the copy was live, and is not any more
 *
 * The last three end an order. But a target that was asked has everything that it needs to store the copy, and no word of it can be
 * trusted: if its copy appears on chain nevertheless, a refused or lost order becomes live.
 */
export type OrderStage = 'planned' | 'asked' | 'storing' | 'live' | 'refused' | 'lost' | 'ended'

export const { canBecome } = stageRules<OrderStage>({
  planned: ['asked', 'refused'],
  asked: ['storing', 'live', 'refused', 'lost'],
  storing: ['live', 'refused', 'lost'],
  live: ['ended'],
  refused: ['live'],
  lost: ['live'],
  ended: [],
})

/** Whether an order ended: nothing more is done for it. */
export const isFinal = ({ stage }: Pick<OrderRecord, 'stage'>): boolean =>
  stage === 'refused' || stage === 'lost' || stage === 'ended'

/**
 * An order to store one copy of an aggregate at one target. It is written before the target is asked, and everything that
 * identifies it at the target is derived from its id: so no crash and no lost answer makes a second copy.
 *
 * @example { offer: 'kD3wbPzc…', order: '00/0000', id: 'Zx81…', aggregate: 'bafkzci…', target: 'example-pdp', stage: 'storing', … }
 */
export interface OrderRecord extends Due, Entered {
  /** Record id of the offer of the aggregate. */
  offer: string
  /** The number of the copy and of the attempt, see {@link orderKey}. */
  order: string
  /** @see {@link orderId} */
  id: string
  aggregate: string
  group: string
  copy: number
  attempt: number
  /** Name of the target, and its provider as the deal tracker names it. */
  target: string
  provider: string
  stage: OrderStage
  /** In milliseconds since 1970. */
  createdAt: number
  /** When it reached its stage, in milliseconds since 1970. */
  stageAt: number
  /** Its stages so far, in order, each with its time. Absent in records of earlier code. */
  history?: { stage: OrderStage; at: number }[] | undefined
  /** The target is not asked before, in milliseconds since 1970. */
  notBefore: number
  /** A copy must be live by then, in milliseconds since 1970. Present once the target was asked. */
  deadline?: number | undefined
  /** The value that the maker returned at its last step. */
  remote?: string | undefined
  /** Key of the place, once it is known. */
  place?: string | undefined
  /** The end of the place, in milliseconds since 1970; absent if it has none. */
  endsAt?: number | undefined
  /** The state of the live place, as the deal tracker last reported it. Absent if it is sound. */
  condition?: 'faulty' | 'leaving' | 'unseen' | undefined
  /** The state of the order in the words of the target, for operators. */
  progress?: string | undefined
  /** Why it ended. */
  reason?: Reason | undefined
  trouble?: Trouble | undefined
  /** The target while it stores the copy: the key of the index that counts such orders. */
  inFlightAt?: string | undefined
  /** Why no further order of this copy could be made. An operator must act. */
  stuck?: string | undefined
  /** Since when, in milliseconds since 1970. Present together with `stuck`. */
  stuckAt?: number | undefined
  /** `operator` while it is stuck: the key of the index that finds such orders. */
  needs?: 'operator' | undefined
  /** Whether an operator permitted further attempts after this one. */
  isPardoned?: boolean | undefined
}

/** @example orderKey({ copy: 1, attempt: 2 }) // '01/0002' */
export const orderKey = ({ copy, attempt }: Pick<OrderRecord, 'copy' | 'attempt'>): string =>
  `${`${copy}`.padStart(2, '0')}/${`${attempt}`.padStart(4, '0')}`

export const orderId = ({ offer, copy, attempt }: Pick<OrderRecord, 'offer' | 'copy' | 'attempt'>): string =>
  recordId('order', offer, `${copy}`, `${attempt}`)

/** Whether an order has a copy, or may get one. */
export const isOpen = (order: Pick<OrderRecord, 'stage'>): boolean => !isFinal(order)

/** Whether an order ended without a copy after its target was asked. */
export const isFailure = ({ stage, deadline }: Pick<OrderRecord, 'stage' | 'deadline'>): boolean =>
  (stage === 'refused' || stage === 'lost') && deadline !== undefined

/** Whether the target may be storing a copy that is not live yet. */
export const isInFlight = ({ stage }: Pick<OrderRecord, 'stage'>): boolean =>
  stage === 'asked' || stage === 'storing'

/** Whether the target may have to fetch the whole aggregate. */
export const needsWhole = (order: Pick<OrderRecord, 'stage'>): boolean =>
  order.stage === 'planned' || isInFlight(order)

/** Whether work is left for the order: a live copy is checked until it ends. */
export const isUnfinished = (order: Pick<OrderRecord, 'stage' | 'stuck'>): boolean =>
  isOpen(order) || order.stuck !== undefined

/** Whether an order waits for others: a live one for its end, one that is stuck for an operator. */
export const isWaiting = ({ stage, stuck }: Pick<OrderRecord, 'stage' | 'stuck'>): boolean =>
  stage === 'live' || stuck !== undefined

const laneOf = (order: OrderRecord): Lane => (isWaiting(order) ? 'waiting' : 'own')

type Times = { retryMs: number; pollMs: number; liveMs: number }

const enter = (order: Stored<OrderRecord>, stage: OrderStage, now: number, times: Times) => {
  const history = [...(order.history ?? []), { stage, at: now }]
  const next: Stored<OrderRecord> = { ...order, stage, stageAt: now, history, trouble: undefined }
  next.inFlightAt = isInFlight(next) ? order.target : undefined
  return schedule(next, now, times)
}

const schedule = (
  order: Stored<OrderRecord>,
  now: number,
  times: Times,
  afterMs = 0,
): Stored<OrderRecord> => ({
  ...order,
  ...(order.stuck === undefined ? { stuckAt: undefined, needs: undefined } : { needs: 'operator' }),
  ...(isUnfinished(order)
    ? dueAt(order.id, now + Math.max(afterMs, nextCheckMs(order, now, times)), laneOf(order))
    : notDue),
})

/** The order is written with this before the first request to the target. */
export const markAsked = (
  order: Stored<OrderRecord>,
  { deadlineMs }: Pick<Target, 'deadlineMs'>,
  now: number,
  times: Times,
): Stored<OrderRecord> | undefined =>
  canBecome(order, 'asked') ? enter({ ...order, deadline: now + deadlineMs }, 'asked', now, times) : undefined

/** Records a step that the target made, or a problem with it. */
export const recordStep = (
  order: Stored<OrderRecord>,
  {
    stage,
    remote,
    place,
    progress,
    afterMs,
  }: {
    stage: 'asked' | 'storing'
    remote?: string | undefined
    place?: string | undefined
    progress: string
    afterMs?: number | undefined
  },
  now: number,
  times: Times,
): Stored<OrderRecord> | undefined => {
  if (!isInFlight(order)) return undefined
  const known = { ...order, remote, place: place ?? order.place, progress: progress.slice(0, 500) }
  return stage === 'storing' && canBecome(order, 'storing')
    ? enter(known, 'storing', now, times)
    : schedule(known, now, times, afterMs)
}

export const markLive = (
  order: Stored<OrderRecord>,
  { key, expiration, status, faulty }: PlaceStatus,
  now: number,
  times: Times,
): Stored<OrderRecord> | undefined => {
  const endsAt = expiration === undefined ? undefined : Date.parse(expiration)
  const condition = status === 'Leaving' ? 'leaving' : faulty ? 'faulty' : undefined
  if (order.stage === 'live') return schedule({ ...order, endsAt, condition }, now, times)
  return canBecome(order, 'live')
    ? enter(
        { ...order, place: key, endsAt, condition, progress: undefined, stuck: undefined, reason: undefined },
        'live',
        now,
        times,
      )
    : undefined
}

/**
 * Records that no source of the deal tracker sees the live place any more, e.g. because another one replaced the source that did. The
 * place may still be there, so no other copy is ordered: an operator must look.
 */
export const markUnseen = (
  order: Stored<OrderRecord>,
  now: number,
  times: Times,
): Stored<OrderRecord> | undefined =>
  order.stage === 'live' ? schedule({ ...order, condition: 'unseen' }, now, times) : undefined

/** Ends an order. */
export const endOrder = (
  order: Stored<OrderRecord>,
  stage: 'refused' | 'lost' | 'ended',
  reason: Reason,
  now: number,
  times: Times,
): Stored<OrderRecord> | undefined =>
  canBecome(order, stage) ? enter({ ...order, reason: toReason(reason) }, stage, now, times) : undefined

/** Records a problem that is not the target's, and schedules the next attempt. */
export const recordOrderProblem = (
  order: Stored<OrderRecord>,
  message: string,
  now: number,
  times: Times,
): Stored<OrderRecord> | undefined =>
  isFinal(order)
    ? undefined
    : schedule({ ...order, trouble: addTrouble(order.trouble, message, now) }, now, times)

/**
 * Records why no further order of a copy can be made, or that one can be made again. It is tried again every 6 hours, and when an
 * operator asks.
 */
export const setStuck = (
  order: Stored<OrderRecord>,
  stuck: string | undefined,
  now: number,
  times: Times,
): Stored<OrderRecord> | undefined =>
  order.stuck === stuck ? undefined : schedule({ ...order, stuck, stuckAt: order.stuckAt ?? now }, now, times)

/**
 * Permits further orders of a copy after the last one, on the word of an operator. Returns `undefined` if the order is not stuck, or
 * if it is not for its failures: then a target is missing, not a permission.
 */
export const pardon = (order: Stored<OrderRecord>): Stored<OrderRecord> | undefined =>
  order.stuck === undefined || order.isPardoned || !isFailure(order)
    ? undefined
    : { ...order, isPardoned: true }

const STUCK_MS = 6 * 60 * 60 * 1000
/** The longest interval at which a live copy is checked. */
export const LIVE_CHECK_MS = 24 * 60 * 60 * 1000

/**
 * Returns the milliseconds until the next check of an order. Before it is live, the interval is the time since it reached its
 * stage, between the two settings `retryMs` and `pollMs`, whichever is shorter. A live copy is checked every `liveMs`.
 */
export const nextCheckMs = (
  order: Pick<OrderRecord, 'stage' | 'stageAt' | 'notBefore' | 'stuck'>,
  now: number,
  { retryMs, pollMs, liveMs }: Times,
): number => {
  if (order.stage === 'live') return liveMs
  if (order.stuck !== undefined) return STUCK_MS
  const wait = isFromWrongClock(order.notBefore, now, LIVE_CHECK_MS) ? 0 : order.notBefore - now
  const bounds = [retryMs, pollMs].toSorted((a, b) => a - b) as [number, number]
  return Math.max(wait, backoffMs(now - order.stageAt, ...bounds))
}

/**
 * Returns the live places that an order may have made although its maker did not name one: those at its provider that are not credited
 * to another order or offer.
 *
 * @param credits those of the places
 */
export const findCandidates = (
  order: OrderRecord,
  type: Target['place'],
  { places }: Pick<Knowledge, 'places'>,
  credits: readonly CreditRecord[],
): PlaceStatus[] =>
  places.filter(place => {
    const { key, provider } = place
    if (!isLive(place) || provider !== order.provider || parsePlaceKey(key)?.type !== type) return false
    const credit = findCredit(place, { credits })
    return (
      credit === undefined ||
      (credit.aggregateId === order.offer && (credit.orderId ?? order.id) === order.id)
    )
  })

/** Whether a copy is live, as of a good run. */
export const isLive = ({ status, epoch }: PlaceStatus): boolean => status === 'Active' && epoch !== undefined

/** Whether the deal tracker's knowledge proves that an order has no copy after its deadline. */
export const isLost = (
  { deadline }: Pick<OrderRecord, 'deadline'>,
  type: Target['place'],
  { asOf }: Knowledge,
  now: number,
): boolean => deadline !== undefined && now > deadline && isKnownUntil({ asOf }, [type], deadline, now)

/** The conditions of a live place, for operators. */
export const CONDITIONS: Record<NonNullable<OrderRecord['condition']>, string> = {
  faulty: 'Its provider misses proofs',
  leaving: 'Its provider removes it',
  unseen: 'No source of the deal tracker sees it any more',
}

/** Describes an order for people, e.g. `copy 1 at example-pdp: storing`. */
export const describeOrder = ({ copy, target, stage, reason }: OrderRecord): string =>
  `copy ${copy} at ${target}: ${stage}${reason ? ` (${reason.name}: ${reason.message})` : ''}`

/**
 * Returns the reason why an offer without a live copy waits for its orders; `undefined` if it does not. It waits for every order
 * that is open, and, unless its policy says otherwise, for an operator after the last one.
 */
export const explainOrders = (orders: readonly OrderRecord[], { giveUp }: Policy): string | undefined => {
  const open = orders.find(isOpen)
  if (open) return `an order of it is open: ${describeOrder(open)}`
  const last = orders.at(-1)
  if (last === undefined || giveUp === 'automatic') return undefined
  return `no order of it is open: ${describeOrder(last)}. Permit further orders with \`w3fil ops order retry\`, or end it with \`w3fil ops order drop\``
}
