import { decode } from '@ipld/dag-cbor'
import {
  type Deal,
  type DealSummary,
  type FilecoinInfoSuccess,
  type NextAggregate,
  type PieceInfoSuccess,
  type PieceLink,
  type PlaceStatus,
  type PlaceSummary,
  parsePieceLink,
  type Stage,
  type TaskState,
  type Workflow,
} from '@w3filecoin/capabilities'
import { backoffMs, type HealthRecord, type Progress, type Stored } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import { describeHindrance, findHindrance } from './hindrance.ts'
import { contentDeadline, type PieceRecord, stageReachedAt, type Timing } from './piece.ts'
import type { TaskRecord } from './task.ts'

type AggregateSummary = FilecoinInfoSuccess['aggregates'][number]

/** Returns a record in the form of `filecoin/info`, for the space that offered it. */
export const workflowOf = (
  record: Stored<PieceRecord>,
  accept: Workflow['accept'],
  /** The answer of the aggregator to `piece/info`, if it was asked. */
  info: PieceInfoSuccess | undefined,
  timing: Timing,
  /** The checks of the storefront. */
  health: readonly HealthRecord[],
): Workflow => {
  const { content, nonce, group, stage, history, attempt, trouble, reason, checkAt } = record
  const step = describeWait(record, info, timing)
  const hindrance = describeHindrance(stage, health)
  const waitsFor = step && hindrance ? `${step}. ${hindrance}` : step
  return {
    content: parseLink(content),
    ...(nonce === undefined ? {} : { nonce }),
    group,
    stage,
    since: toISO(stageReachedAt(record)),
    history: historyOf(history),
    accept,
    ...(attempt === undefined ? {} : { attempt }),
    ...(waitsFor && { waitsFor }),
    ...(info?.next && { next: info.next }),
    ...(trouble && {
      trouble: {
        message: trouble.message,
        at: toISO(trouble.at),
        times: trouble.times,
        again: toISO(checkAt ?? trouble.at),
      },
    }),
    ...(reason && { error: reason }),
  }
}

/**
 * Returns the state of a task in the form of `filecoin/info`, for anyone who names the task.
 *
 * @param subject the task, the attempt that promised it, and the tasks that the latest attempt promised
 */
export const taskStateOf = (
  record: Stored<PieceRecord>,
  {
    task,
    attempt = 1,
    promises,
  }: {
    task: TaskState['task']
    attempt?: number | undefined
    promises?: Pick<TaskState, 'submit' | 'accept'>
  },
  info: PieceInfoSuccess | undefined,
  timing: Timing,
): TaskState => {
  // Each attempt begins with `offered`.
  const starts = record.history.flatMap(({ stage }, n) => (stage === 'offered' ? [n] : []))
  const history = record.history.slice(starts[attempt - 1], starts[attempt])
  const { stage, at } = history.at(-1) ?? { stage: record.stage, at: stageReachedAt(record) }
  const isLatest = attempt === (record.attempt ?? 1)
  const waitsFor = isLatest ? describeWait(record, info, timing) : undefined
  // Another attempt follows only after this failure.
  const name = isLatest ? record.reason?.name : 'ContentNotFound'
  return {
    task,
    stage,
    since: toISO(at),
    history: historyOf(history),
    ...(waitsFor && { waitsFor }),
    ...(name && { error: { name } }),
    ...(isLatest && promises),
  }
}

/** Names of the problems that a step retries, by stage. The message of a problem may name the content, so it is not public. */
const TROUBLE_NAMES: Record<Stage, string> = {
  offered: 'ContentUnreadable',
  submitted: 'OfferNotAccepted',
  queued: 'NoReceiptOfAggregator',
  aggregated: 'NoReceiptOfDealer',
  retried: 'OfferNotAccepted',
  accepted: 'ReceiptNotIssued',
  failed: 'ReceiptNotIssued',
}

/**
 * Seconds after which it makes sense to ask about a piece again: as long as it is at its stage already, between these bounds. An
 * agent that asks so often learns with less than 50 questions of a deal that is made after 48 hours.
 */
const LEAST_RETRY_SECONDS = 1
const MOST_RETRY_SECONDS: Record<Stage, number> = {
  offered: 5 * 60,
  submitted: 5 * 60,
  queued: 60 * 60,
  aggregated: 3 * 60 * 60,
  retried: 5 * 60,
  accepted: LEAST_RETRY_SECONDS,
  failed: LEAST_RETRY_SECONDS,
}

/** Returns the public progress of a task that has no receipt yet. */
export const progressOf = (
  record: Stored<PieceRecord>,
  { task, attempt }: TaskRecord,
  { timing, health, now }: { timing: Timing; health: readonly HealthRecord[]; now: number },
): Progress => {
  const { stage, since, waitsFor } = taskStateOf(
    record,
    { task: parseLink(task) as TaskState['task'], attempt },
    undefined,
    timing,
  )
  const failed = findHindrance(stage, health)
  const trouble = failed
    ? { name: failed.problem ?? 'CheckFailed', since: toISO(failed.since) }
    : record.trouble && { name: TROUBLE_NAMES[stage] }
  const waitedSeconds = Math.ceil((now - Date.parse(since)) / 1000)
  return {
    can: record.acceptCid === task ? 'filecoin/accept' : 'filecoin/submit',
    piece: record.piece,
    stage,
    since,
    ...(waitsFor && { waitsFor }),
    ...(stage === 'offered' && { until: toISO(contentDeadline(record, timing)) }),
    ...(trouble && { trouble }),
    retryAfterSeconds: backoffMs(waitedSeconds, LEAST_RETRY_SECONDS, MOST_RETRY_SECONDS[stage]),
  }
}

const historyOf = (history: PieceRecord['history']): Workflow['history'] =>
  history.map(({ stage, at }) => ({ stage, at: toISO(at) }))

/**
 * Describes in a sentence what must happen next to a piece; `undefined` at a final stage. The sentence is public: it names
 * neither the content nor the group.
 */
const describeWait = (
  record: Stored<PieceRecord>,
  info: PieceInfoSuccess | undefined,
  timing: Timing,
): string | undefined => {
  const { stage, aggregate, former = [] } = record
  switch (stage) {
    case 'offered':
      return `The content must be read and checked; abandoned on ${toISO(contentDeadline(record, timing))}`
    case 'submitted':
      return 'The aggregator must accept the piece'
    case 'queued':
      return info?.next ? describeFill(info.next) : 'The aggregator must put the piece into an aggregate'
    case 'aggregated':
      return info?.aggregate?.stage === 'sealed'
        ? `The aggregate ${aggregate} must be offered to the dealer`
        : `The aggregate ${aggregate} must be stored on Filecoin`
    case 'retried':
      return `The aggregator must accept the piece again: ${former.at(-1)?.aggregate} was not stored`
    case 'accepted':
    case 'failed':
      return undefined
    default:
      return stage satisfies never
  }
}

/** @example describeFill(next) // 'The next aggregate of its group is 71 % full; sealed at the latest on 2027-02-03' */
const describeFill = ({ bytes, capacity, minimum, sealedBy, belowMinimumSince }: NextAggregate): string => {
  const percent = (part: number) => `${Math.min(100, Math.floor((part / capacity) * 100))} %`
  const state = `The next aggregate of its group is ${percent(bytes)} full`
  const whenFull = `${state}; sealed when it is ${percent(minimum)} full`
  if (belowMinimumSince !== undefined)
    return `${whenFull}. It waits below this minimum since ${belowMinimumSince}; an operator can seal it`
  return bytes < minimum ? whenFull : `${state}; sealed at the latest on ${sealedBy}`
}

/** Whether the aggregator has a record of a piece at this stage, which `piece/info` describes. */
const IS_AT_AGGREGATOR: Record<Stage, boolean> = {
  offered: false,
  submitted: false,
  queued: true,
  aggregated: true,
  retried: false,
  accepted: false,
  failed: false,
}

export const isAtAggregator = ({ stage }: Pick<PieceRecord, 'stage'>): boolean => IS_AT_AGGREGATOR[stage]

/** Returns aggregates of a piece in the form of `filecoin/info`, each once and in this order. */
export const aggregatesOf = (
  memberships: readonly { aggregate: string; inclusion: Uint8Array }[],
): AggregateSummary[] => {
  const proofs = new Map(memberships.map(({ aggregate, inclusion }) => [aggregate, inclusion]))
  return [...proofs].map(([aggregate, inclusion]) => ({
    aggregate: parsePieceLink(aggregate),
    inclusion: decode(inclusion),
  }))
}

/** The part of an answer to `deal/info` that is reported. An earlier deal tracker has neither `places` nor `asOf`. */
export interface DealAnswer {
  deals?: Record<string, Pick<Deal, 'provider' | 'status' | 'reason' | 'expiration'>>
  places?: PlaceStatus[]
  /** The sources that the deal tracker reads. */
  asOf?: object[]
}

type DealReport = Pick<FilecoinInfoSuccess, 'deals' | 'pastDeals' | 'places' | 'warnings'>

/** Returns the answers of the deal tracker about these aggregates in the form of `filecoin/info`. */
export const reportDeals = (aggregates: readonly PieceLink[], answers: readonly DealAnswer[]): DealReport => {
  const about = <T, S>(list: (answer: DealAnswer) => T[], shape: (aggregate: PieceLink, item: T) => S): S[] =>
    aggregates.flatMap((aggregate, n) => list(answers[n] ?? {}).map(item => shape(aggregate, item)))
  const all = about(
    ({ deals = {} }) => Object.entries(deals),
    (aggregate, [deal, { provider, status, reason, expiration }]): DealSummary => ({
      aggregate,
      provider,
      aux: { dataType: 0, dataSource: { dealID: Number(deal) } },
      status,
      ...(reason !== undefined && { reason }),
      expiration,
    }),
  )
  const places = about(
    ({ places = [] }) => places,
    (aggregate, { pieceCid: _, ...place }): PlaceSummary => ({ aggregate, ...place }),
  )
  const isBlind = answers.some(({ asOf }) => asOf?.length === 0)
  return {
    deals: all.filter(isLive),
    pastDeals: all.filter(deal => !isLive(deal)),
    places,
    ...(isBlind && {
      warnings: ['The deal tracker has no source: deals of these aggregates may exist that it does not know'],
    }),
  }
}

const isLive = ({ status }: DealSummary): boolean => status === 'Active'

const toISO = (time: number): string => new Date(time).toISOString()
