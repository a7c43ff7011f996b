import { decode } from '@ipld/dag-cbor'
import type {
  Inclusion,
  NextAggregate,
  PieceInfoSuccess,
  PieceLink,
  Workflow,
} from '@w3filecoin/capabilities'
import type { Stored } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import { type PieceRecord, stageReachedAt, type Timing } from './piece.ts'

/** How a record is told to whoever asks where the piece is. */
export const workflowOf = (
  record: Stored<PieceRecord>,
  accept: Workflow['accept'],
  /** What the aggregator says, if it was asked. */
  info: PieceInfoSuccess | undefined,
  timing: Timing,
): Workflow => {
  const { content, nonce, group, stage, history, trouble, reason, checkAt } = record
  const waitsFor = waitingFor(record, info, timing)
  return {
    content: parseLink(content),
    ...(nonce === undefined ? {} : { nonce }),
    group,
    stage,
    since: iso(stageReachedAt(record)),
    history: history.map(({ stage, at }) => ({ stage, at: iso(at) })),
    accept,
    ...(waitsFor && { waitsFor }),
    ...(info?.next && { next: info.next }),
    ...(trouble && {
      trouble: {
        message: trouble.message,
        at: iso(trouble.at),
        times: trouble.times,
        again: iso(checkAt ?? trouble.at),
      },
    }),
    ...(reason && { error: reason }),
  }
}

const waitingFor = (
  record: Stored<PieceRecord>,
  info: PieceInfoSuccess | undefined,
  { contentWaitMs }: Timing,
): string | undefined => {
  const { stage, content, aggregate, former = [] } = record
  switch (stage) {
    case 'offered':
      return `The content ${content} is to be read and checked; given up on ${iso(stageReachedAt(record) + contentWaitMs)}`
    case 'submitted':
      return 'The aggregator is to take the piece'
    case 'queued':
      return info?.next
        ? filling(record.group, info.next)
        : 'The aggregator is to put the piece into an aggregate'
    case 'aggregated':
      return info?.aggregate?.stage === 'sealed'
        ? `The aggregate ${aggregate} is to be offered to the dealer`
        : `The aggregate ${aggregate} is to be in a deal`
    case 'retried':
      return `The aggregator is to take the piece again: ${former.at(-1)?.aggregate} got no deal`
    default:
      return undefined
  }
}

const filling = (group: string, { bytes, capacity, minimum, sealedBy }: NextAggregate): string => {
  const percent = (part: number) => `${Math.min(100, Math.floor((part / capacity) * 100))} %`
  const state = `The aggregate of group ${group} is ${percent(bytes)} full`
  return bytes < minimum
    ? `${state}; sealed when it is ${percent(minimum)} full`
    : `${state}; sealed at the latest on ${sealedBy}`
}

/** Every aggregate that these records are or were in, each once, with the proof. */
export const aggregatesOf = (
  records: readonly PieceRecord[],
): { aggregate: PieceLink; inclusion: Inclusion }[] => {
  const proofs = new Map<string, Uint8Array>()
  for (const { aggregate, inclusion, former = [] } of records) {
    for (const { aggregate, inclusion } of former) proofs.set(aggregate, inclusion)
    if (aggregate !== undefined && inclusion) proofs.set(aggregate, inclusion)
  }
  return [...proofs].map(([aggregate, inclusion]) => ({
    aggregate: parseLink(aggregate) as unknown as PieceLink,
    inclusion: decode<Inclusion>(inclusion as never),
  }))
}

const iso = (time: number): string => new Date(time).toISOString()
