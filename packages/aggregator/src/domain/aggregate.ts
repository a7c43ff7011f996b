import type { DID } from '@ucanto/interface'
import {
  addTrouble,
  backoffMs,
  type Due,
  dueAt,
  type Entered,
  notDue,
  type Reason,
  recordId,
  type Stored,
  stageRules,
  type Trouble,
  toReason,
} from '@w3filecoin/runtime'
import type { GroupRecord, Seal } from './group.ts'

/**
 * The stage of an aggregate:
 *
 * - `sealed`: it must be offered to the dealer
 * - `offered`: the dealer makes deals for it
 * - `accepted`: it is live in a deal, or at another place; this stage is final
 * - `failed`: it is in no deal, or the dealer refused it; this stage is final. The dealer offers its valid pieces again
 */
export type AggregateStage = 'sealed' | 'offered' | 'accepted' | 'failed'

/** `isFinal`: the dealer's final answer is known. Receipts for pieces may still be missing: see {@link isFinished}. */
export const { canBecome, isFinal } = stageRules<AggregateStage>({
  sealed: ['offered', 'accepted', 'failed'],
  offered: ['accepted', 'failed'],
  accepted: [],
  failed: [],
})

/** Whether the dealer may offer pieces of the aggregate again. Its retry may arrive before its receipt does. */
const MAY_RETRY: Record<AggregateStage, boolean> = {
  sealed: true,
  offered: true,
  accepted: false,
  failed: true,
}

export const mayRetry = ({ stage }: Pick<AggregateRecord, 'stage'>): boolean => MAY_RETRY[stage]

/** An aggregate. Its work is finished when its stage is final and `rangesToInclude` is empty. */
export interface AggregateRecord extends Due, Entered, Seal {
  /** @see {@link aggregateId} */
  id: string
  storefront: DID
  group: string
  /** Set where the same pieces were sealed before: distinguishes the two aggregates. @see {@link sealNonce} */
  nonce?: string | undefined
  stage: AggregateStage
  /** Numbers of the ranges whose pieces have no `piece/accept` receipts yet. */
  rangesToInclude: number[]
  /** The promised `aggregate/offer`, packed, without the block of pieces. */
  offerTask: Uint8Array
  /** CID of the `aggregate/accept` that the dealer promised. Present from `offered` on. */
  acceptCid?: string | undefined
  /** Why it `failed`. Absent in records of earlier code. */
  reason?: Reason | undefined
  /** The last problem with the dealer at this stage, while the step is still being retried. */
  trouble?: Trouble | undefined
}

/** Longest time until the dealer is asked for an outcome again, unless `pollMs` is longer. */
const MAX_POLL_MS = 60 * 60 * 1000

/** Intervals in milliseconds. */
export interface Timing {
  /** Until unfinished work is sent again. */
  retryMs: number
  /** Until the dealer is asked for an outcome again. */
  pollMs: number
}

/** One piece in a range of an aggregate. */
export interface RangeEntry {
  /** Record id of the piece. */
  id: string
  /** The piece's position in the list of its group. @see {@link PendingRecord.order} */
  order: string
  /** Link of the piece. */
  piece: unknown
  /** Inclusion proof of the piece. */
  inclusion: unknown
}

/**
 * Returns the key of an aggregate.
 *
 * @example aggregateId({ aggregate: 'bafkzci…' }) // 'Qm2r7TfA…', 43 characters of base64url
 */
export const aggregateId = ({
  aggregate,
  nonce,
}: {
  aggregate: string
  nonce?: string | undefined
}): string => recordId(aggregate, nonce)

/**
 * Returns the nonce of an aggregate whose pieces, in the same layout, were sealed before: the group's record id and the
 * sequence number.
 *
 * @example 'Yx0qU5-m…-7'
 */
export const sealNonce = ({ id }: Pick<GroupRecord, 'id'>, { sequence }: Seal): string => `${id}-${sequence}`

/** @param seal.ranges number of ranges that the pieces are divided into */
export const newAggregate = (
  { storefront, group }: Pick<GroupRecord, 'storefront' | 'group'>,
  seal: Seal,
  { nonce, offerTask, ranges }: { nonce?: string | undefined; offerTask: Uint8Array; ranges: number },
  now: number,
  { retryMs }: Timing,
): AggregateRecord => {
  const id = aggregateId({ aggregate: seal.aggregate, nonce })
  const rangesToInclude = Array.from({ length: ranges }, (_, n) => n)
  return {
    ...seal,
    id,
    storefront,
    group,
    nonce,
    offerTask,
    rangesToInclude,
    stage: 'sealed',
    ...dueAt(id, now + retryMs),
  }
}

/** Whether the record was created for this seal, and not for another seal of the same pieces. */
export const belongsToSeal = (record: AggregateRecord, group: GroupRecord, { sequence }: Seal): boolean =>
  record.storefront === group.storefront && record.group === group.group && record.sequence === sequence

/**
 * Returns the milliseconds until the next check of an aggregate. An offer that the dealer does not accept is repeated
 * with exponential backoff: the interval equals the time since sealing, between `retryMs` and `pollMs`. The dealer is asked
 * for the outcome in the same way, between `pollMs` and an hour.
 */
export const nextCheckMs = (
  { stage, rangesToInclude, sealedAt }: Pick<AggregateRecord, 'stage' | 'rangesToInclude' | 'sealedAt'>,
  now: number,
  { retryMs, pollMs }: Timing,
): number => {
  if (rangesToInclude.length > 0) return retryMs
  switch (stage) {
    case 'sealed':
      return backoffMs(now - sealedAt, retryMs, pollMs)
    case 'offered':
      return backoffMs(now - sealedAt, pollMs, MAX_POLL_MS)
    case 'accepted':
    case 'failed':
      return pollMs
  }
}

/** The longest interval between two checks, in milliseconds. */
export const longestCheckMs = ({ retryMs, pollMs }: Timing): number => Math.max(retryMs, pollMs, MAX_POLL_MS)

export const markOffered = (
  record: Stored<AggregateRecord>,
  acceptCid: string,
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  canBecome(record, 'offered')
    ? schedule({ ...record, stage: 'offered', acceptCid, trouble: undefined }, now, timing)
    : undefined

/** Records a problem with the dealer that may pass, or that it has passed, and schedules the next attempt. */
export const recordProblem = (
  record: Stored<AggregateRecord>,
  stage: AggregateStage,
  message: string | undefined,
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined => {
  if (record.stage !== stage || (message === undefined && record.trouble === undefined)) return undefined
  const trouble = message === undefined ? undefined : addTrouble(record.trouble, message, now)
  return schedule({ ...record, trouble }, now, timing)
}

/** Records that all pieces of a range have their receipts. */
export const closeRange = (
  record: Stored<AggregateRecord>,
  range: number,
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  record.rangesToInclude.includes(range)
    ? schedule(
        { ...record, rangesToInclude: record.rangesToInclude.filter(open => open !== range) },
        now,
        timing,
      )
    : undefined

/** Records the dealer's final answer. */
export const markEnded = (
  record: Stored<AggregateRecord>,
  stage: 'accepted' | 'failed',
  now: number,
  timing: Timing,
  reason?: Reason,
): Stored<AggregateRecord> | undefined =>
  canBecome(record, stage)
    ? schedule({ ...record, stage, trouble: undefined, reason: reason && toReason(reason) }, now, timing)
    : undefined

/** Whether no work is left for the aggregate. */
export const isFinished = (record: Pick<AggregateRecord, 'stage' | 'rangesToInclude'>): boolean =>
  isFinal(record) && record.rangesToInclude.length === 0

/** Whether the aggregate only waits for the dealer's answer. */
export const isWaiting = ({ stage, rangesToInclude }: Pick<AggregateRecord, 'stage' | 'rangesToInclude'>) =>
  stage === 'offered' && rangesToInclude.length === 0

const schedule = (record: Stored<AggregateRecord>, now: number, timing: Timing): Stored<AggregateRecord> => {
  if (isFinished(record)) return { ...record, ...notDue }
  const lane = isWaiting(record) ? 'waiting' : 'own'
  return { ...record, ...dueAt(record.id, now + nextCheckMs(record, now, timing), lane) }
}
