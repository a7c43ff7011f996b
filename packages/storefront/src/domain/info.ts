import { decode } from '@ipld/dag-cbor'
import {
  type Inclusion,
  type NextAggregate,
  type PieceInfoSuccess,
  type PieceLink,
  parsePieceLink,
  type Stage,
  type Workflow,
} from '@w3filecoin/capabilities'
import type { Stored } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import { type PieceRecord, stageReachedAt, type Timing } from './piece.ts'

/** Returns a record in the form of `filecoin/info`. */
export const workflowOf = (
  record: Stored<PieceRecord>,
  accept: Workflow['accept'],
  /** The answer of the aggregator to `piece/info`, if it was asked. */
  info: PieceInfoSuccess | undefined,
  timing: Timing,
): Workflow => {
  const { content, nonce, group, stage, history, trouble, reason, checkAt } = record
  const waitsFor = describeWait(record, info, timing)
  return {
    content: parseLink(content),
    ...(nonce === undefined ? {} : { nonce }),
    group,
    stage,
    since: toISO(stageReachedAt(record)),
    history: history.map(({ stage, at }) => ({ stage, at: toISO(at) })),
    accept,
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

/** Describes in a sentence what must happen next to a piece; `undefined` at a final stage. */
const describeWait = (
  record: Stored<PieceRecord>,
  info: PieceInfoSuccess | undefined,
  { contentWaitMs }: Timing,
): string | undefined => {
  const { stage, content, aggregate, former = [] } = record
  switch (stage) {
    case 'offered':
      return `The content ${content} must be read and checked; abandoned on ${toISO(stageReachedAt(record) + contentWaitMs)}`
    case 'submitted':
      return 'The aggregator must accept the piece'
    case 'queued':
      return info?.next
        ? describeFill(record.group, info.next)
        : 'The aggregator must put the piece into an aggregate'
    case 'aggregated':
      return info?.aggregate?.stage === 'sealed'
        ? `The aggregate ${aggregate} must be offered to the dealer`
        : `The aggregate ${aggregate} must get into a deal`
    case 'retried':
      return `The aggregator must accept the piece again: ${former.at(-1)?.aggregate} got no deal`
    case 'accepted':
    case 'failed':
      return undefined
    default:
      return stage satisfies never
  }
}

/** @example describeFill('did:web:x', next) // 'The aggregate of group did:web:x is 71 % full; sealed at the latest on 2027-02-03' */
const describeFill = (group: string, { bytes, capacity, minimum, sealedBy }: NextAggregate): string => {
  const percent = (part: number) => `${Math.min(100, Math.floor((part / capacity) * 100))} %`
  const state = `The aggregate of group ${group} is ${percent(bytes)} full`
  return bytes < minimum
    ? `${state}; sealed when it is ${percent(minimum)} full`
    : `${state}; sealed at the latest on ${sealedBy}`
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

/** Returns every aggregate that these records are or were in, each once, with the inclusion proof. */
export const aggregatesOf = (
  records: readonly PieceRecord[],
): { aggregate: PieceLink; inclusion: Inclusion }[] => {
  const proofs = new Map<string, Uint8Array>()
  for (const { aggregate, inclusion, former = [] } of records) {
    for (const { aggregate, inclusion } of former) proofs.set(aggregate, inclusion)
    if (aggregate !== undefined && inclusion) proofs.set(aggregate, inclusion)
  }
  return [...proofs].map(([aggregate, inclusion]) => ({
    aggregate: parsePieceLink(aggregate),
    inclusion: decode(inclusion),
  }))
}

const toISO = (time: number): string => new Date(time).toISOString()
