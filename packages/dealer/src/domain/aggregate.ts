import type { DID } from '@ucanto/interface'
import type { Tasks } from '@w3filecoin/capabilities'
import {
  addTrouble,
  backoffMs,
  type Due,
  dueAt,
  type Entered,
  notDue,
  type Reason,
  type Row,
  recordId,
  type Stored,
  stageRules,
  type Translated,
  type Trouble,
  toReason,
} from '@w3filecoin/runtime'

/**
 * The stage of an aggregate:
 *
 * - `offered`: no deal for it is on chain yet
 * - `accepted`: it is live in a deal, or at another place; this stage is final
 * - `failed`: it will not be stored; this stage is final
 */
export type AggregateStage = 'offered' | 'accepted' | 'failed'

/** `isFinal`: an aggregate's outcome is decided. Its retries may still have to be sent: see {@link isFinished}. */
export const { canBecome, isFinal } = stageRules<AggregateStage>({
  offered: ['accepted', 'failed'],
  accepted: [],
  failed: [],
})

/** An aggregate that deals are made for. Its work is finished when its stage is final and no range must be retried. */
export interface AggregateRecord extends Due, Entered, Translated {
  /** @see {@link aggregateId} */
  id: string
  aggregate: string
  /** CID of the DAG-CBOR list of the pieces. */
  piecesCid: string
  nonce?: string | undefined
  /** The aggregator that offered it and waits for the receipt. */
  aggregator: DID
  /** The storefront that the pieces are from. */
  storefront: string
  /** The pieces' group. */
  group: string
  /** Name of the aggregate for people. */
  label: string
  stage: AggregateStage
  /** In milliseconds since 1970. */
  offeredAt: number
  /** In milliseconds since 1970. Present when the stage is final. */
  endedAt?: number | undefined
  /**
   * Its place in the index `open`: see {@link toOpenKey}. Present while it is `offered`; and while it is `accepted` and has a lack,
   * with the time of that instead of the offer's.
   */
  openKey?: string | undefined
  /** Keys of the deals that brokers reported for it: see {@link MAX_REPORTED_DEALS}. */
  reportedDeals?: string[] | undefined
  /** The promised `aggregate/accept`, packed. Absent if the offer was refused, because then nothing is promised. */
  acceptTask?: Uint8Array | undefined
  /** CID of the `aggregate/offer` whose receipt is the refusal. */
  refusedOfferCid?: string | undefined
  /** Key of the place that the aggregate was accepted with: see `toPlaceKey`. Of a deal, its id. */
  place?: string | undefined
  /** Why it `failed`. Absent in records of earlier code. */
  reason?: Reason | undefined
  /** CID of the list of the CIDs of ranges, each a list of packed `piece/offer` tasks. Present when `failed`. */
  retriesCid?: string | undefined
  /** Numbers of the ranges that must still be sent to the aggregator. */
  rangesToRetry?: number[] | undefined
  /** Which copies it lacks although it is accepted, for the operator. */
  lack?: Lack | undefined
  /** Why the offer still waits after its deadline, for the operator: see `explainWait`. */
  waitsFor?: string | undefined
  /** The last problem with the deal tracker, or with the aggregator of its retries, while the step is still being retried. */
  trouble?: Trouble | undefined
}

/**
 * A problem with the copies of an accepted aggregate that an operator must know: too few are live, or one ends without a successor.
 *
 * @example { problem: 'TooFewCopies', message: '1 of 2 copies is live, fewer than 2 since 2026-12-24', at: 1767225600000 }
 */
export interface Lack {
  problem: 'TooFewCopies' | 'CopyEnds'
  message: string
  /** Since when it is a problem, in milliseconds since 1970. */
  at: number
}

/** Returns a row in the present form. Earlier code stored the id of the deal, and had no index `open`. */
export const upgradeAggregate = ({ dealID, ...row }: Row): Row => ({
  ...row,
  ...(dealID !== undefined && { place: `${dealID}` }),
  ...(row.stage === 'offered' && { openKey: toOpenKey(row as never) }),
})

/**
 * Returns the place of an offer in the order of the index `open`: by time, then by id.
 *
 * @example toOpenKey({ offeredAt: 1767225600000, id: 'kD3wbPzc…' }) // '1767225600000-kD3wbPzc…'
 */
export const toOpenKey = ({ offeredAt, id }: Pick<AggregateRecord, 'offeredAt' | 'id'>): string =>
  `${`${offeredAt}`.padStart(13, '0')}-${id}`

/** Whether a text has the form of {@link toOpenKey}. */
export const isOpenKey = (text: string): boolean => /^\d{13}-[\w-]{43}$/.test(text)

/** Deals that brokers may report for an offer. Each report of a further one makes the deal tracker search it for days. */
export const MAX_REPORTED_DEALS = 50

/** Records that a broker reported a deal. Returns `undefined` if it is recorded already, or may not be. */
export const recordReport = (
  record: Stored<AggregateRecord>,
  deal: string,
): Stored<AggregateRecord> | undefined => {
  const { reportedDeals = [] } = record
  const isFull = reportedDeals.length >= MAX_REPORTED_DEALS
  if (isFinal(record) || isFull || reportedDeals.includes(deal)) return undefined
  return { ...record, reportedDeals: [...reportedDeals, deal] }
}

/** Invalid pieces that a receipt names, each with the reason. */
export const MAX_INVALID_PIECES = 1_000

/**
 * Pieces of an offer that fails at once because some of them are invalid. Its receipt contains a task for each valid
 * piece: 95,000 tasks take 25 s and 2 GB, more than a request has. Aggregators do not make such offers unless something
 * is wrong.
 */
export const MAX_REFUSED_PIECES = 30_000

/**
 * How much two correct clocks may differ. An epoch of the chain begins up to 30 seconds before the deals in it.
 */
export const CHAIN_TOLERANCE_MS = 60 * 60 * 1000

/** Intervals in milliseconds. */
export interface Timing {
  /** Until unfinished work is sent again. */
  retryMs: number
  /** Until the deal tracker is asked again about a new aggregate. See {@link nextCheckMs}. */
  pollMs: number
  /** Until an aggregate without a deal fails. */
  dealWaitMs: number
  /** Until a live copy is checked again. */
  liveMs: number
}

/** An aggregate as it is offered, with the promised task or the refusal. */
export type Offer = Pick<
  AggregateRecord,
  | 'aggregate'
  | 'piecesCid'
  | 'nonce'
  | 'aggregator'
  | 'storefront'
  | 'group'
  | 'label'
  | 'acceptTask'
  | 'refusedOfferCid'
>

/** The aggregator of an offer and its tenant there. */
export type Owner = Pick<AggregateRecord, 'aggregator' | 'storefront' | 'group'>

export const isSameOwner = (a: Owner, b: Owner): boolean =>
  a.aggregator === b.aggregator && a.storefront === b.storefront && a.group === b.group

/**
 * Returns the key of an offer. It contains the list of pieces: the refusal of a list that does not make the aggregate must
 * not apply to the list that does.
 *
 * The capability `aggregate/accept` names neither the aggregator nor the tenant, and a task has one receipt. Therefore the
 * first offer of an aggregate, pieces and nonce has the plain key and task. The key and the task of every offer with another
 * owner contain that owner.
 *
 * @param owner set unless the offer was the first
 * @example aggregateId({ aggregate: 'bafkzci…', piecesCid: 'bafyrei…', nonce: undefined }) // 'kD3wbPzc…'
 */
export const aggregateId = (
  { aggregate, piecesCid, nonce }: Pick<AggregateRecord, 'aggregate' | 'piecesCid' | 'nonce'>,
  owner?: Owner,
): string =>
  owner === undefined
    ? recordId(aggregate, piecesCid, nonce)
    : recordId(aggregate, piecesCid, nonce, owner.aggregator, owner.storefront, owner.group)

/** Returns the fact that distinguishes the promised task of an offer from that of the first one, which has another owner. */
export const toLaterOffer = (
  { aggregator, storefront, group }: Owner,
  first: Pick<Owner, 'aggregator'>,
): Tasks.LaterOffer => ({
  storefront,
  group,
  ...(aggregator === first.aggregator ? {} : { aggregator }),
})

export const newAggregate = (
  offer: Offer & Pick<AggregateRecord, 'id'>,
  now: number,
  { pollMs }: Timing,
): AggregateRecord => ({
  ...offer,
  stage: 'offered',
  offeredAt: now,
  openKey: toOpenKey({ offeredAt: now, id: offer.id }),
  ...dueAt(offer.id, now + pollMs),
})

export const markAccepted = (
  record: Stored<AggregateRecord>,
  place: string,
  now: number,
): Stored<AggregateRecord> | undefined =>
  canBecome(record, 'accepted')
    ? {
        ...record,
        stage: 'accepted',
        openKey: undefined,
        place,
        endedAt: now,
        waitsFor: undefined,
        trouble: undefined,
        ...notDue,
      }
    : undefined

/** Records which copies an accepted aggregate lacks, or that it lacks none. Returns `undefined` if that is recorded already. */
export const setLack = (
  record: Stored<AggregateRecord>,
  lack: Lack | undefined,
): Stored<AggregateRecord> | undefined => {
  const before = record.lack
  const isSame = before?.problem === lack?.problem && before?.message === lack?.message
  if (record.stage !== 'accepted' || isSame) return undefined
  return { ...record, lack, openKey: lack && toOpenKey({ offeredAt: lack.at, id: record.id }) }
}

/**
 * Records why an offer still waits after its deadline, and a problem with the deal tracker, or that there is none any more.
 * Schedules the next check, too, because this write may overtake that of the sweep.
 */
export const markWaiting = (
  record: Stored<AggregateRecord>,
  { waitsFor, problem }: { waitsFor: string | undefined; problem: string | undefined },
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined => {
  const { trouble: before } = record
  const isSame = record.waitsFor === waitsFor && problem === undefined && before === undefined
  if (isFinal(record) || isSame) return undefined
  const trouble = problem === undefined ? undefined : addTrouble(before, problem, now)
  const due = dueAt(record.id, now + nextCheckMs(record, now, timing), 'waiting')
  return { ...record, waitsFor, trouble, ...due }
}

/** Records a problem with the retries of a failed aggregate, and schedules the next attempt. */
export const recordRetryProblem = (
  record: Stored<AggregateRecord>,
  message: string,
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  record.stage === 'failed' && !isFinished(record)
    ? schedule(
        { ...record, trouble: addTrouble(record.trouble, message, now) },
        now + nextCheckMs(record, now, timing),
      )
    : undefined

/** The valid pieces of a failed aggregate, which the dealer offers to the aggregator again. */
export interface Retries {
  /** @see {@link AggregateRecord.retriesCid} */
  retriesCid: string
  /** @see {@link AggregateRecord.rangesToRetry} */
  rangesToRetry: number[]
}

export const markFailed = <R extends AggregateRecord>(
  record: R,
  { retriesCid, rangesToRetry, reason }: Retries & { reason: Reason },
  now: number,
  { retryMs }: Timing,
): R | undefined =>
  canBecome(record, 'failed')
    ? schedule(
        {
          ...record,
          stage: 'failed',
          openKey: undefined,
          endedAt: now,
          waitsFor: undefined,
          reason: toReason(reason),
          trouble: undefined,
          retriesCid,
          rangesToRetry,
        },
        now + retryMs,
      )
    : undefined

/** Records that the aggregator has given final answers to all retries of a range. */
export const closeRange = (
  record: Stored<AggregateRecord>,
  range: number,
  now: number,
  { retryMs }: Timing,
): Stored<AggregateRecord> | undefined =>
  record.rangesToRetry?.includes(range)
    ? schedule(
        {
          ...record,
          rangesToRetry: record.rangesToRetry.filter(open => open !== range),
          trouble: undefined,
        },
        now + retryMs,
      )
    : undefined

/** Whether no work is left for the aggregate. */
export const isFinished = (record: Pick<AggregateRecord, 'stage' | 'rangesToRetry'>): boolean =>
  isFinal(record) && (record.rangesToRetry ?? []).length === 0

const schedule = <R extends AggregateRecord>(record: R, checkAt: number): R => ({
  ...record,
  ...(isFinished(record) ? notDue : dueAt(record.id, checkAt)),
})

/** The share of its present age that an offer may wait longer because its deal is found late. */
const MAX_DELAY_SHARE = 1 / 400

/**
 * Returns the milliseconds until the next check of an aggregate.
 *
 * - The deal tracker is asked less often the longer the offer waits: after 1/400 of its age, between `pollMs` and 6 hours.
 *   If `pollMs` is 15 minutes, that is every 15 minutes for four days, every hour after 17 days, and every 6 hours after
 *   100 days.
 * - Retries that the aggregator does not accept are repeated with exponential backoff: the interval equals the time since
 *   the failure, between `retryMs` and `pollMs`.
 */
export const nextCheckMs = (
  { stage, offeredAt, endedAt }: Pick<AggregateRecord, 'stage' | 'offeredAt' | 'endedAt'>,
  now: number,
  { retryMs, pollMs }: Pick<Timing, 'retryMs' | 'pollMs'>,
): number => {
  switch (stage) {
    case 'failed':
      return backoffMs(now - (endedAt ?? now), retryMs, pollMs)
    case 'offered':
      return backoffMs((now - offeredAt) * MAX_DELAY_SHARE, pollMs)
    case 'accepted':
      return pollMs
  }
}
