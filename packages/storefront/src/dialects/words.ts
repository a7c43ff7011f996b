import type { Fact, Signer } from '@ucanto/interface'
import {
  type Dialect,
  Draft1,
  Draft2,
  Draft3,
  type Failure,
  type PieceLink,
  type Task,
  type UnknownLink,
} from '@w3filecoin/capabilities'
import type { Parser } from '@w3filecoin/runtime'

interface Offered {
  content: UnknownLink
  piece: PieceLink
}

/** The words in which a dialect offers content and reports the check of it. */
export interface Words {
  /** The ability of the offer. */
  offer: Parser
  /** The ability of the task that the answer promises. */
  promised: Parser
  read: (nb: never) => Offered
  /** Returns the result of an offer. */
  answer: (offered: Offered) => object
  /** Builds the promised task. */
  promise: (id: Signer, offered: Offered & { nonce: string | undefined }, facts: Fact[]) => Promise<Task>
  /** Returns the result of the promised task. */
  succeed: (piece: PieceLink) => object
  /** Returns an error in the words of the dialect. */
  fail: (error: Failure, piece: PieceLink) => Failure
}

const draft1: Words = {
  offer: Draft1.pieceAdd,
  promised: Draft1.pieceVerify,
  read: ({ link, piece }: { link: UnknownLink; piece: PieceLink }) => ({ content: link, piece }),
  answer: () => ({ status: 'queued-for-verification' }),
  promise: (id, { content, ...offered }, facts) =>
    Draft1.verifyTask(id, { link: content, ...offered, facts }),
  succeed: piece => ({ piece, status: 'queued-for-offer' }),
  fail: (error, piece) => ({ ...error, piece, reason: error.name }),
}

const draft2: Words = {
  offer: Draft2.filecoinAdd,
  promised: Draft2.filecoinAdd,
  read: ({ content, piece }: Offered) => ({ content, piece }),
  answer: ({ piece }) => ({ piece }),
  promise: (id, offered, facts) => Draft2.filecoinAddTask(id, { ...offered, facts }),
  succeed: piece => ({ piece }),
  fail: error => error,
}

/** Draft 3 promises the task of draft 2. */
const draft3: Words = { ...draft2, offer: Draft3.filecoinQueue }

/** The dialects that have other words for the storefront than the protocol. */
export type StorefrontDialect = Exclude<Dialect, 'capability-section'>

export const WORDS: Record<StorefrontDialect, Words> = {
  'draft-1': draft1,
  'draft-2': draft2,
  'draft-3': draft3,
}

export const hasWords = (dialect: Dialect): dialect is StorefrontDialect => dialect in WORDS
