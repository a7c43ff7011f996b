import { type Failure, type FilecoinOfferFact, failure, type Result } from '@w3filecoin/capabilities'
import { backoffMs, type Due, dueAt, isFromWrongClock, recordId, type Stored } from '@w3filecoin/runtime'

/**
 * An address that an agent named in its offer, until it has the receipt of the promised `filecoin/accept`: one row per task, agent
 * and address. The record of the piece has the keys of these rows in `listeners`, also of those that were removed.
 *
 * @example { id: 'kD3…', task: 'bafyrei…', audience: 'did:key:z6Mk…', url: 'https://agent.example/receipts',
 * since: 1767225600000, attempts: 0, expiresAt: 1782777600, checkAt: 1767225660000, due: 'w2' }
 */
export interface ListenerRecord extends Due {
  /** Key; see {@link listenerId}. */
  id: string
  /** CID of the `filecoin/accept`. */
  task: string
  /** DID of the agent. */
  audience: string
  url: string
  /** When the agent named the address, in milliseconds since 1970. */
  since: number
  /** Attempts to deliver the receipt. */
  attempts: number
  /** The earliest time of the next attempt, in milliseconds since 1970. Absent before the first one. */
  retryAt?: number | undefined
  /** Time after which the row may be removed, in seconds since 1970. */
  expiresAt: number
}

/** What identifies a {@link ListenerRecord}. */
export type Listening = Pick<ListenerRecord, 'task' | 'audience' | 'url'>

const MINUTE_MS = 60_000

/** The least pauses after each attempt. An address that takes no receipt after the last pause gets none. */
const PAUSES_MS = [1, 4, 16, 60, 240].map(minutes => minutes * MINUTE_MS)
const MAX_PAUSE_MS = 240 * MINUTE_MS

/** Maximum attempts to deliver a receipt to one address. */
export const MAX_DELIVERY_ATTEMPTS = PAUSES_MS.length + 1

/** Time for which an address waits for the end of its workflow: longer than any workflow that gets a deal. */
const LIFETIME_MS = 180 * 24 * 60 * MINUTE_MS

/** Maximum length of an address. */
const MAX_ADDRESS_BYTES = 500

/** @example listenerId({ task: 'bafyrei…', audience: 'did:key:z6Mk…', url: 'https://agent.example/receipts' }) // 43 characters */
export const listenerId = ({ task, audience, url }: Listening): string => recordId(task, audience, url)

/**
 * Returns the address in the facts of an offer; `undefined` if they have none. Fails with `InvalidReceiptsAddress`. The host is
 * checked when it is called: then its name resolves to public addresses only, or it is not called.
 *
 * @param options.allowPrivate whether plain HTTP is allowed too, as for hosts on this machine
 * @example findAddress([{ receiptsTo: 'https://agent.example/receipts' }], { allowPrivate: false })
 */
export const findAddress = (
  facts: readonly unknown[],
  { allowPrivate }: { allowPrivate: boolean },
): Result<{ url: string } | undefined, Failure> => {
  const fact = facts.find(fact => Object(fact).receiptsTo !== undefined) as FilecoinOfferFact | undefined
  if (fact === undefined) return { ok: undefined }
  const invalid = (problem: string) => ({
    error: failure(
      'InvalidReceiptsAddress',
      `The fact receiptsTo of filecoin/offer ${problem}. Expected an address such as https://agent.example/receipts.`,
    ),
  })
  const { receiptsTo } = fact
  if (typeof receiptsTo !== 'string') return invalid('is not text')
  if (Buffer.byteLength(receiptsTo) > MAX_ADDRESS_BYTES)
    return invalid(`has more than ${MAX_ADDRESS_BYTES} bytes`)
  const url = URL.parse(receiptsTo)
  if (url === null) return invalid('is not a URL')
  if (url.protocol !== 'https:' && !(allowPrivate && url.protocol === 'http:'))
    return invalid('is not an https address')
  if (url.username !== '' || url.password !== '') return invalid('has a user or a password')
  url.hash = ''
  // Percent-encoding may have made it longer.
  if (Buffer.byteLength(url.href) > MAX_ADDRESS_BYTES)
    return invalid(`has more than ${MAX_ADDRESS_BYTES} bytes`)
  return { ok: { url: url.href } }
}

export const newListener = (listening: Listening, now: number, retryMs: number): ListenerRecord => {
  const id = listenerId(listening)
  return {
    id,
    ...listening,
    since: now,
    attempts: 0,
    expiresAt: Math.ceil((now + LIFETIME_MS) / 1000),
    ...dueAt(id, now + retryMs, 'waiting'),
  }
}

/** Whether the next attempt must wait. A time further ahead than the longest pause was written by a wrong clock. */
const isPaused = ({ retryAt }: ListenerRecord, now: number): boolean =>
  retryAt !== undefined && now < retryAt && !isFromWrongClock(retryAt, now, MAX_PAUSE_MS)

/** Whether no attempt will follow. */
export const isExhausted = (record: ListenerRecord, now: number): boolean =>
  record.expiresAt * 1000 <= now || (record.attempts >= MAX_DELIVERY_ATTEMPTS && !isPaused(record, now))

/**
 * Counts an attempt before it is made, so that repeated messages and killed runs cause no more attempts than the bound.
 * Returns `undefined` if the pause after the last one is not over.
 */
export const beginAttempt = (
  record: Stored<ListenerRecord>,
  now: number,
): Stored<ListenerRecord> | undefined => {
  if (isPaused(record, now) || isExhausted(record, now)) return undefined
  const attempts = record.attempts + 1
  const retryAt = now + (PAUSES_MS[record.attempts] ?? MAX_PAUSE_MS)
  return { ...record, attempts, retryAt, ...dueAt(record.id, retryAt, 'waiting') }
}

/** Returns the time until the sweep sends the message of a row again, in milliseconds. */
export const nextListenerCheckMs = (
  { since, attempts }: ListenerRecord,
  now: number,
  retryMs: number,
): number => (attempts === 0 ? backoffMs(now - since, retryMs) : retryMs)
