import { recordId } from '@w3filecoin/runtime'
import type { PieceRecord, Timing } from './piece.ts'

/**
 * The right of one run to read a content, or to one of an owner's slots, until a time that the run moves on. Or the mark that
 * an owner had no free slot.
 */
export interface ReadingRecord {
  /** Key; see {@link contentLeaseId}, {@link slotIds} and {@link crowdedId}. */
  id: string
  /** Key of the piece record that the run works on. */
  holder: string
  /** When the right ends unless it is renewed, in milliseconds since 1970. */
  until: number
  /** Time after which the row may be removed, in seconds since 1970. Rows of earlier code have none. */
  expiresAt?: number
}

/**
 * Runs that read contents of one owner at the same time, out of the 50 of queue `submit`. Slow contents of four owners leave
 * ten runs to the others.
 */
export const SLOTS_PER_OWNER = 10

/**
 * The owner of all contents whose space has no row in the table of spaces: any agent can create such spaces, so they share
 * one allowance.
 */
export const SHARED_OWNER = 'shared'

const DAY_MS = 24 * 60 * 60 * 1000

/** Returns the key of the right to read a content: one run reads it, whichever workflows need it. */
export const contentLeaseId = ({ content }: Pick<PieceRecord, 'content'>): string =>
  recordId('content', content)

/** Returns the key of the mark that an owner had no free slot. It ends by itself, as the rights do. */
export const crowdedId = (owner: string): string => recordId('crowded', owner)

/** Returns the keys of an owner's slots. */
export const slotIds = (owner: string): string[] =>
  Array.from({ length: SLOTS_PER_OWNER }, (_, n) => recordId('slot', owner, `${n}`))

export const newLease = (
  id: string,
  { id: holder }: Pick<PieceRecord, 'id'>,
  now: number,
  { retryMs }: Timing,
): ReadingRecord => ({
  id,
  holder,
  until: now + retryMs,
  // A killed run leaves its rows.
  expiresAt: Math.ceil((now + retryMs + DAY_MS) / 1000),
})

/** Whether a run may take the right: it has ended, or was written by a clock that is far ahead. */
export const isFree = (lease: ReadingRecord | undefined, now: number, { retryMs }: Timing): boolean =>
  lease === undefined || lease.until <= now || lease.until > now + 2 * retryMs
