import { hash } from 'node:crypto'
import { encode } from '@ipld/dag-cbor'
import type { Fact } from '@ucanto/interface'
import type { Dialect, Task } from '@w3filecoin/capabilities'
import type { Clock, Queue, Stored, Table } from '../ports.ts'
import { stageRules } from '../records/stages.ts'
import {
  backoffMs,
  type Due,
  dueAt,
  LONGEST_CHECK_MS,
  notDue,
  type Sweep,
  sendAll,
  sweep,
  type Unfinished,
} from '../records/sweep.ts'
import type { TranslateMessage } from './translate-message.ts'

/**
 * The stage of a translation:
 *
 * - `promised`: the task of the protocol has no receipt yet
 * - `blocked`: it has one, and another receipt must arrive first
 * - `filed`: the receipt is stored. The offer that it promises must be sent
 * - `done`: no work is left; this stage is final
 */
export type TranslationStage = 'promised' | 'blocked' | 'filed' | 'done'

const { canBecome, isFinal } = stageRules<TranslationStage>({
  promised: ['blocked', 'filed', 'done'],
  blocked: ['filed', 'done'],
  filed: ['done'],
  done: [],
})

/**
 * A task that a service promised in a dialect. Its receipt reports the outcome of the task of the protocol that means the
 * same.
 *
 * @example { id: 'kD3…', dialect: 'draft-2', task: 'bafyrei…', promisedTask: <bytes>, of: 'bafyrei…', subject: 'pX0…',
 * stage: 'promised', since: 1767225600000, checkAt: 1767225660000, due: 'a' }
 */
export interface TranslationRecord extends Due {
  /** Key; see {@link translationId}. */
  id: string
  /** The dialect of the first offer that got the promise: drafts 2 and 3 have tasks in common. */
  dialect: Dialect
  /** CID of the promised task, and the task, packed. */
  task: string
  promisedTask: Uint8Array
  /** CID of the task of the protocol. */
  of: string
  /** Key of the record whose workflow promised both tasks. */
  subject: string
  stage: TranslationStage
  /** When it reached its stage, in milliseconds since 1970. */
  since: number
  /** The offer to another service that the receipt promises, packed. Only while `filed`. */
  offerTask?: Uint8Array | undefined
}

/**
 * Returns the key of a translation: a hash of the task without its signature, which changes with the key of the service.
 * An invocation by the service itself finds the promise in it.
 *
 * @param audience DID of the audience if it is another service
 * @example translationId({ can: 'filecoin/add', nb: { content, piece } }) // 43 characters of base64url
 */
export const translationId = ({
  can,
  nb,
  nonce,
  facts = [],
  audience,
}: {
  can: string
  nb: object
  nonce?: string | undefined
  facts?: readonly Fact[] | undefined
  audience?: string | undefined
}): string => {
  const present = Object.fromEntries(Object.entries(nb).filter(([, value]) => value !== undefined))
  const identity = [can, present, nonce ?? null, [...facts], audience ?? null]
  return hash('sha256', encode(identity), 'base64url')
}

export const newTranslation = (
  promise: Pick<TranslationRecord, 'id' | 'dialect' | 'promisedTask' | 'of' | 'subject'> & { task: Task },
  now: number,
  retryMs: number,
): TranslationRecord => ({
  ...promise,
  task: `${promise.task.cid}`,
  stage: 'promised',
  since: now,
  ...dueAt(promise.id, now + retryMs, 'waiting'),
})

export const markBlocked = (
  record: Stored<TranslationRecord>,
  now: number,
  retryMs: number,
): Stored<TranslationRecord> | undefined =>
  canBecome(record, 'blocked')
    ? { ...record, stage: 'blocked', since: now, ...dueAt(record.id, now + retryMs) }
    : undefined

/** @param offerTask the offer that must be sent, packed; `undefined` if there is none */
export const markFiled = (
  record: Stored<TranslationRecord>,
  offerTask: Uint8Array | undefined,
  now: number,
  retryMs: number,
): Stored<TranslationRecord> | undefined => {
  if (offerTask === undefined) return markDone(record)
  return canBecome(record, 'filed')
    ? { ...record, stage: 'filed', since: now, offerTask, ...dueAt(record.id, now + retryMs) }
    : undefined
}

export const markDone = ({
  offerTask: _,
  ...record
}: Stored<TranslationRecord>): Stored<TranslationRecord> | undefined =>
  canBecome(record, 'done') ? { ...record, stage: 'done', ...notDue } : undefined

const NEXT_STEP: Record<TranslationStage, string> = {
  promised: 'the task of the protocol must end',
  blocked: 'the receipt that it links to must arrive',
  filed: 'the next service must accept its offer',
  done: 'nothing',
}

/** The translations of any service, for its sweep and for operators. */
export const unfinishedTranslations: Unfinished<TranslationRecord, { translate: Queue<TranslateMessage> }> = {
  isUnfinished: record => !isFinal(record),
  stageSince: ({ since }) => since,
  describeNext: ({ stage }) => NEXT_STEP[stage],
  isWaiting: ({ stage }) => stage === 'promised',
  messages: records => ({ translate: records.map(({ id }) => ({ id })) }),
}

/** Sends the messages of overdue translations again. */
export const sweepTranslations = ({
  table,
  queue,
  retryMs,
  now,
}: {
  table: Table<TranslationRecord>
  queue: Queue<TranslateMessage>
  retryMs: number
  now: Clock
}): Sweep => {
  const longestMs = Math.max(LONGEST_CHECK_MS, retryMs)
  return sweep({
    kind: 'translation',
    table,
    intervalMs: ({ since }) => backoffMs(now() - since, retryMs),
    longestMs: { own: longestMs, waiting: longestMs },
    isWaiting: unfinishedTranslations.isWaiting,
    resend: records => sendAll({ translate: queue }, unfinishedTranslations.messages(records)),
    ageOf: ({ stage, since }) => ({ record: 'translation', stage, since }),
  })
}

/** A record that knows the translations of its promises, so that their receipts are issued as soon as its own is. */
export interface Translated {
  /** Keys of the translations. */
  translations?: string[] | undefined
}

/** Maximum translations that a record knows. The sweep finds the others. */
const MAX_KNOWN = 20

/** Notes a translation in the record of its workflow. */
export const addTranslation = <R extends Translated>(record: R, id: string): R | undefined => {
  const { translations = [] } = record
  return translations.includes(id) || translations.length >= MAX_KNOWN
    ? undefined
    : { ...record, translations: [...translations, id] }
}

/** Returns the messages that continue the translations of records. */
export const translationsOf = (...records: readonly (Translated | undefined)[]): TranslateMessage[] =>
  records.flatMap(record => (record?.translations ?? []).map(id => ({ id })))
