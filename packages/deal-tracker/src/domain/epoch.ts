import { epochToMs } from '@w3filecoin/capabilities'
import * as z from 'zod'

/** The last epoch that the tracker accepts, in the year 2971. It keeps all times within the range of dates. */
export const MAX_EPOCH = 1_000_000_000

/** An epoch as a source names it. */
export const epochSchema = z.int().nonnegative().max(MAX_EPOCH)

/** Epochs of a day. */
export const EPOCHS_OF_DAY = 2_880

/** How far the chain state of a report may lie ahead of our clock. The next epochs are not on chain yet. */
const MAX_AHEAD_MS = 60 * 60 * 1000

/**
 * Whether an epoch lies so far ahead of our clock that one of the two must be wrong. If the epoch is stored, the clock of
 * the run that accepted it was wrong.
 */
export const isAhead = (epoch: number, now: number): boolean => epochToMs(epoch) - now > MAX_AHEAD_MS

/**
 * Whether the daily turn of a number is after one epoch and not after another. Each number has one turn a day, and numbers in
 * sequence have theirs one epoch apart. So each run reads a share of a large set, and needs no record of the others.
 *
 * @param number of a sector or a deal
 * @example hasTurn(77, 0, 2_802) // false
 * @example hasTurn(77, 0, 2_803) // true
 */
export const hasTurn = (number: number, after: number, upTo: number): boolean =>
  Math.floor((after + number) / EPOCHS_OF_DAY) !== Math.floor((upTo + number) / EPOCHS_OF_DAY)
