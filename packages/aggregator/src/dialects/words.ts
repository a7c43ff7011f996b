import { encode } from '@ipld/dag-cbor'
import type { Fact, Signer } from '@ucanto/interface'
import {
  CapabilitySection,
  type Dialect,
  Draft1,
  Draft2,
  Draft3,
  type Failure,
  type PieceAcceptSuccess,
  type PieceLink,
  parsePieceLink,
  type Task,
  toTenantDid,
} from '@w3filecoin/capabilities'
import { type Parser, principal } from '@w3filecoin/runtime'
import { base64url } from 'multiformats/bases/base64'
import type { PieceRecord } from '../domain/piece.ts'

/** An offer in the words of the protocol. */
interface Read {
  piece: PieceLink
  group: string
  /** The storefront that the arguments name. */
  named?: string
}

/** The words in which a dialect offers a piece and reports its aggregate. */
export interface Words {
  /** The ability of the offer. */
  offer: Parser
  /** Whether arguments are those of the dialect, where the protocol has the same ability. */
  matches?: (nb: object) => boolean
  /** The ability of the task that the answer promises. */
  promised:
    | typeof Draft1.aggregateArrange
    | typeof Draft2.aggregateAdd
    | typeof CapabilitySection.aggregateAccept
  read: (nb: never) => Read
  /** Returns the result of an offer. */
  answer: (nb: never, record: PieceRecord) => object
  /** Builds the promised task. */
  promise: (id: Signer, record: PieceRecord, facts: Fact[]) => Promise<Task>
  /** The fact that distinguishes the promised task from an equal one of another workflow. Absent if there is none. */
  distinction?: (record: PieceRecord) => Fact
  /** Returns the result of the promised task. */
  succeed: (success: PieceAcceptSuccess) => object
  /** Returns an error in the words of the dialect. */
  fail: (error: Failure, piece: PieceLink) => Failure
  /**
   * The task that the receipt of the promised task links to: the offer of the aggregate, the dealer's task, which must be known
   * first, or none.
   */
  join: 'offer' | 'deal' | 'none'
}

const draft1: Words = {
  offer: Draft1.pieceOffer,
  matches: nb => 'provider' in nb && !('group' in nb),
  promised: Draft1.aggregateArrange,
  read: ({ piece, provider }: { piece: PieceLink; provider: string }) => ({ piece, group: provider }),
  // The note before the draft links the content, and has other words for the answer.
  answer: ({ link }: { link?: unknown }, { stage }) => ({
    status: link === undefined ? 'queued-for-aggregate' : stage === 'included' ? 'done' : 'queued',
  }),
  promise: (id, { piece, storefront, nonce }, facts) =>
    Draft1.arrangeTask(id, principal(storefront), { piece: parsePieceLink(piece), nonce, facts }),
  distinction: ({ group }) => ({ group }),
  succeed: ({ piece, aggregate, inclusion }) => ({ piece, aggregate, inclusion }),
  fail: (error, piece) => ({ ...error, piece, reason: error.name }),
  join: 'deal',
}

/** Drafts 2 and 3 promise the same task. */
const add: Pick<Words, 'promised' | 'promise' | 'answer' | 'succeed' | 'fail' | 'join'> = {
  promised: Draft2.aggregateAdd,
  promise: (id, { piece, storefront, group, nonce }, facts) =>
    Draft2.aggregateAddTask(id, id, { piece: parsePieceLink(piece), storefront, group, nonce, facts }),
  answer: ({ piece }: { piece: PieceLink }) => ({ piece }),
  succeed: ({ piece, aggregate, inclusion }) => ({
    piece,
    aggregate,
    path: encodePath(inclusion),
    inclusion,
  }),
  // The drafts spell it so.
  fail: error => (error.name === 'InvalidPieceCID' ? { ...error, name: 'InvaildPieceCID' } : error),
  join: 'none',
}

const draft2: Words = {
  ...add,
  offer: Draft2.aggregateAdd,
  read: ({ piece, group, storefront }: { piece: PieceLink; group: string; storefront: string }) => ({
    piece,
    group,
    named: toTenantDid(storefront),
  }),
}

const draft3: Words = {
  ...add,
  offer: Draft3.aggregateQueue,
  read: ({ piece, group }: { piece: PieceLink; group: string }) => ({ piece, group }),
}

const capabilitySection: Words = {
  offer: CapabilitySection.aggregateOffer,
  promised: CapabilitySection.aggregateAccept,
  read: ({ piece, group }: { piece: PieceLink; group: string }) => ({ piece, group }),
  answer: ({ piece }: { piece: PieceLink }) => ({ piece }),
  promise: (id, { piece, group, nonce }, facts) =>
    CapabilitySection.aggregateAcceptTask(id, { piece: parsePieceLink(piece), group, nonce, facts }),
  distinction: ({ storefront }) => ({ storefront }),
  succeed: success => success,
  fail: error => error,
  join: 'offer',
}

export const WORDS: Record<Dialect, Words> = {
  'draft-1': draft1,
  'draft-2': draft2,
  'draft-3': draft3,
  'capability-section': capabilitySection,
}

/**
 * Encodes an inclusion proof as the text `path` of drafts 2 and 3, which do not define it.
 *
 * @returns the DAG-CBOR of the proof in multibase base64url, e.g. `uomVpbmRleIIB…`
 */
const encodePath = (inclusion: PieceAcceptSuccess['inclusion']): string => base64url.encode(encode(inclusion))
