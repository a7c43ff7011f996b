import type { DealMetadata } from '@w3filecoin/capabilities'
import {
  addTrouble,
  backoffMs,
  type Due,
  dueAt,
  type Entered,
  LONGEST_CHECK_MS,
  notDue,
  type Reason,
  type Row,
  recordId,
  type Stored,
  stageRules,
  type Trouble,
  toReason,
} from '@w3filecoin/runtime'
import { MAX_INDEX_LAG_MS } from './member-shards.ts'
import type { Timing } from './piece.ts'

/** The aggregate is `offered` to a dealer until it is `accepted` (in a deal) or `failed`. */
export type AggregateStage = 'offered' | 'accepted' | 'failed'

/** An aggregate that contains pieces of this storefront. */
export interface AggregateRecord extends Due, Entered {
  /** Key; see {@link aggregateId}. */
  id: string
  aggregate: string
  /**
   * CID of the `aggregate/offer` that the aggregator promised. Absent if it has no words for that: then the deal tracker reports
   * the outcome.
   */
  aggregateOfferCid?: string | undefined
  /**
   * CID of the `aggregate/accept` that the dealer promised. Only its receipt decides the outcome. Absent until the dealer's
   * receipt of the `aggregate/offer` is known.
   */
  acceptCid?: string | undefined
  /** When the record was created, in milliseconds since 1970. Absent in records of version 0.1.0. */
  offeredAt?: number | undefined
  stage: AggregateStage
  /** When a check first found no piece that is not settled, in milliseconds since 1970. Absent before that, and after a piece joined. */
  emptyAt?: number | undefined
  /** Its place on chain, as the dealer's receipt names it. From `accepted` on. */
  metadata?: DealMetadata | undefined
  /** CID of a list of CIDs, one per shard, of the {@link Verdict}s on its pieces. Only when `failed`. */
  verdictsCid?: string | undefined
  /** Why it `failed`. Absent in records of earlier code. */
  reason?: Reason | undefined
  /** The last problem with the service that is asked for the outcome, while the question is still being repeated. */
  trouble?: Trouble | undefined
}

/** Returns a row in the present form. Earlier code stored the id of the deal, which was the only kind of place. */
export const upgradeAggregate = ({ dataType, dealID, ...row }: Row): Row => ({
  ...row,
  ...(dealID !== undefined && { metadata: { dataType: 0, dataSource: { dealID } } }),
})

/** `isFinal`: the outcome of the aggregate is known. */
export const { canBecome, isFinal } = stageRules<AggregateStage>({
  offered: ['accepted', 'failed'],
  accepted: [],
  failed: [],
})

/**
 * The decision of the dealer about a piece of a failed aggregate. Stored in blocks.
 *
 * @example { piece: 'bafkzci…', retry: 'bafyrei…' }
 * @example { piece: 'bafkzci…', fault: 'No provider can read it' }
 */
export interface Verdict {
  piece: string
  /** CID of the `piece/offer` by which the dealer offers it again. */
  retry?: string | undefined
  /** Why the dealer does not offer it again. */
  fault?: string | undefined
}

/**
 * Returns the key of an aggregate record. The same pieces may be sealed twice: a nonce then distinguishes the aggregates.
 *
 * @example aggregateId({ aggregate: 'bafkzci…' }) // 43 characters of base64url, e.g. 'kD3…'
 */
export const aggregateId = ({
  aggregate,
  nonce,
}: {
  aggregate: string
  nonce?: string | undefined
}): string => recordId(aggregate, nonce)

export const newAggregate = (
  {
    aggregate,
    nonce,
    aggregateOfferCid,
  }: Pick<AggregateRecord, 'aggregate' | 'aggregateOfferCid'> & { nonce?: string | undefined },
  now: number,
  { pollMs }: Timing,
): AggregateRecord => {
  const id = aggregateId({ aggregate, nonce })
  return { id, aggregate, aggregateOfferCid, stage: 'offered', offeredAt: now, ...dueAt(id, now + pollMs) }
}

/**
 * Returns the time until the next check of an aggregate. The question for its outcome is repeated with exponential backoff:
 * the interval equals the time since the offer, between `pollMs` and six hours.
 */
export const nextCheckMs = (
  record: Pick<AggregateRecord, 'stage' | 'offeredAt' | 'emptyAt'>,
  now: number,
  { pollMs }: Timing,
): number => {
  if (isFinal(record)) return record.emptyAt === undefined ? pollMs : LONGEST_CHECK_MS
  return backoffMs(record.offeredAt === undefined ? Infinity : now - record.offeredAt, pollMs)
}

/** Records the `aggregate/accept` that the dealer promised. The first promise counts: an offer has one receipt. */
export const markPromised = (
  record: Stored<AggregateRecord>,
  acceptCid: string,
): Stored<AggregateRecord> | undefined =>
  record.acceptCid === undefined && !isFinal(record) ? { ...record, acceptCid } : undefined

/** Records a problem with the question for the outcome, or that there is none any more, and schedules the next question. */
export const recordOutcomeProblem = (
  record: Stored<AggregateRecord>,
  message: string | undefined,
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined => {
  if (isFinal(record) || (message === undefined && record.trouble === undefined)) return undefined
  const trouble = message === undefined ? undefined : addTrouble(record.trouble, message, now)
  return { ...record, trouble, ...dueAt(record.id, now + nextCheckMs(record, now, timing), 'waiting') }
}

export const markAccepted = (
  record: Stored<AggregateRecord>,
  metadata: DealMetadata,
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined => enterStage('accepted', record, { metadata }, now, timing)

export const markFailed = (
  record: Stored<AggregateRecord>,
  verdictsCid: string,
  now: number,
  timing: Timing,
  reason?: Reason,
): Stored<AggregateRecord> | undefined =>
  enterStage('failed', record, { verdictsCid, reason: reason && toReason(reason) }, now, timing)

/** Applies the change if the stage may follow that of the record. */
const enterStage = (
  stage: AggregateStage,
  record: Stored<AggregateRecord>,
  change: Partial<AggregateRecord>,
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  canBecome(record, stage)
    ? scheduleMemberCheck({ ...record, ...change, stage, trouble: undefined }, now, timing)
    : undefined

/**
 * Schedules the next search for pieces that are not settled. The sweep repeats it until none is left: messages to pieces may
 * be lost, and the index that finds the pieces may lag behind the table.
 */
const scheduleMemberCheck = (
  { emptyAt: _, ...record }: Stored<AggregateRecord>,
  now: number,
  { pollMs }: Timing,
): Stored<AggregateRecord> => ({
  ...record,
  ...dueAt(record.id, now + pollMs),
})

/**
 * Schedules a check for a piece that is added after the outcome. A check that is due soon may be running already and miss the
 * piece, so it is delayed; a later one is left as it is, so that many pieces cause few writes.
 */
export const ensureMemberCheck = (
  record: Stored<AggregateRecord>,
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined =>
  isFinal(record) && (record.emptyAt !== undefined || (record.checkAt ?? 0) < now + timing.pollMs / 2)
    ? scheduleMemberCheck(record, now, timing)
    : undefined

/**
 * Records whether a check found pieces that are not settled. The index that finds them may lag, and no piece is checked itself.
 * So the checks end only after none was found for the longest lag.
 */
export const markChecked = (
  record: Stored<AggregateRecord>,
  { hasPieces }: { hasPieces: boolean },
  now: number,
  timing: Timing,
): Stored<AggregateRecord> | undefined => {
  const { emptyAt = now } = record
  if (hasPieces) return record.emptyAt === undefined ? undefined : scheduleMemberCheck(record, now, timing)
  return Math.abs(now - emptyAt) >= MAX_INDEX_LAG_MS
    ? { ...record, ...notDue }
    : { ...record, emptyAt, ...dueAt(record.id, now + LONGEST_CHECK_MS) }
}
