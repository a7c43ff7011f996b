import type { Fact, Link, Signer } from '@ucanto/interface'
import {
  type AggregateAcceptSuccess,
  CapabilitySection,
  type Dialect,
  Draft1,
  Draft2,
  Draft3,
  type Failure,
  type PieceLink,
  parsePieceLink,
  type Task,
  toTenantDid,
} from '@w3filecoin/capabilities'
import { type Parser, principal } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import type { AggregateRecord } from '../domain/aggregate.ts'
import type { NamedTenant } from '../domain/tenant.ts'

/** An offer in the words of the protocol. */
interface Read {
  aggregate: PieceLink
  pieces: Link
  named?: NamedTenant | undefined
}

/** The words in which a dialect offers an aggregate and reports its deal. */
export interface Words {
  /** The ability of the offer. */
  offer: Parser
  /** Whether arguments are those of this form, where the ability has several. */
  matches?: ((nb: object) => boolean) | undefined
  /** The ability of the task that the answer promises. */
  promised: Parser
  read: (nb: never) => Read
  /** Returns the result of an offer. */
  answer: (aggregate: PieceLink) => object
  /** Builds the promised task. `nb` are the arguments of the offer. */
  promise: (id: Signer, record: AggregateRecord, nb: never, facts: Fact[]) => Promise<Task>
  /** Returns the arguments that the promised task may have instead of these. */
  otherForm?: (nb: never) => object
  /** Returns the result of the promised task. */
  succeed: (success: AggregateAcceptSuccess) => object
  /** Returns an error in the words of the dialect. */
  fail: (error: Failure) => Failure
  /** Whether its receipts have the retries of a failed aggregate as effects. */
  hasRetries: boolean
  /** Whether every offer gets the promise, because the readers of pieces in this dialect have no other link to the deal. */
  isPromisedBeside?: boolean
}

/** The common parts of the drafts: results and errors have the fields of all of them, and of the protocol. */
const draft: Pick<Words, 'succeed' | 'fail' | 'hasRetries'> = {
  succeed: success => ({ ...success, piece: success.aggregate }),
  fail: ({ cause, ...error }: Failure & { aggregate?: unknown; piece?: unknown }) => {
    const aggregate = error.aggregate ?? error.piece
    return {
      ...error,
      ...(aggregate === undefined ? {} : { aggregate, piece: aggregate }),
      reason: error.name,
      cause: (Array.isArray(cause) ? cause : []).map((fault: Failure) => ({ ...fault, reason: fault.name })),
    }
  },
  hasRetries: false,
}

const draft1: Words = {
  ...draft,
  offer: Draft1.aggregateOffer,
  matches: nb => 'offer' in nb,
  promised: Draft1.offerArrange,
  read: ({ offer, piece }: { offer: Link; piece: PieceLink }) => ({ aggregate: piece, pieces: offer }),
  answer: () => ({ status: 'queued' }),
  promise: (id, { aggregator, aggregate, nonce }, _, facts) =>
    Draft1.offerArrangeTask(id, principal(aggregator), {
      aggregate: parsePieceLink(aggregate),
      nonce,
      facts,
    }),
  isPromisedBeside: true,
}

/** The arguments of an offer in draft 2, as published clients send them. */
type Added = { aggregate: PieceLink; pieces: Link } & Draft2.TenantArguments

/** The arguments of an offer in draft 2, with the names that an example of the draft has. */
type AddedOffer = { offer: Link; piece: PieceLink } & Draft2.TenantArguments

const draft2: Words = {
  ...draft,
  offer: Draft2.dealAdd,
  matches: nb => !('offer' in nb),
  promised: Draft2.dealAdd,
  read: ({ aggregate, pieces, ...tenant }: Added) => ({
    aggregate,
    pieces,
    named: Draft2.readTenantArguments(tenant),
  }),
  answer: aggregate => ({ aggregate }),
  promise: (id, { nonce }, nb, facts) => Draft2.dealAddTask(id, id, { nb, nonce, facts }),
}

const draft2Offer: Words = {
  ...draft2,
  offer: Draft2.dealAddOffer,
  matches: nb => 'offer' in nb,
  promised: Draft2.dealAddOffer,
  otherForm: ({ offer, piece, ...tenant }: AddedOffer) => ({ pieces: offer, aggregate: piece, ...tenant }),
  read: ({ offer, piece, ...tenant }: AddedOffer) => ({
    aggregate: piece,
    pieces: offer,
    named: Draft2.readTenantArguments(tenant),
  }),
}

const draft3: Words = {
  ...draft2,
  offer: Draft3.dealQueue,
  matches: undefined,
  read: ({ aggregate, pieces, storefront, label }: Added & { storefront: string }) => ({
    aggregate,
    pieces,
    named: { storefront: toTenantDid(storefront), label },
  }),
}

const capabilitySection: Words = {
  offer: CapabilitySection.dealOffer,
  promised: CapabilitySection.dealAccept,
  read: ({ aggregate, pieces }: { aggregate: PieceLink; pieces: Link }) => ({ aggregate, pieces }),
  answer: aggregate => ({ aggregate }),
  promise: (id, { aggregate, piecesCid, nonce }, _, facts) =>
    CapabilitySection.dealAcceptTask(id, {
      aggregate: parsePieceLink(aggregate),
      pieces: parseLink(piecesCid) as Link,
      nonce,
      facts,
    }),
  // The section writes the fields with a prefix, the published clients without.
  succeed: ({ dataType, dataSource, ...success }) => ({
    ...success,
    dataType,
    dataSource,
    auxDataType: dataType,
    auxDataSource: dataSource,
  }),
  fail: error => error,
  hasRetries: true,
}

/** The forms of each dialect. Results and errors are the same in all forms of one dialect. */
export const WORDS: Record<Dialect, readonly [Words, ...Words[]]> = {
  'draft-1': [draft1],
  'draft-2': [draft2, draft2Offer],
  'draft-3': [draft3],
  'capability-section': [capabilitySection],
}
