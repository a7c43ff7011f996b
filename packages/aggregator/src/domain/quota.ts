import type { DID } from '@ucanto/interface'
import { type Failure, failure } from '@w3filecoin/capabilities'

/** How much a storefront may offer: fields of its entry in `storefronts`, or in the table `peer`. */
export interface StorefrontBounds {
  /** The storefront. */
  did: DID
  /** Maximum new pieces on one day (UTC). If absent, they are not counted. */
  piecesPerDay?: number | undefined
}

/**
 * Counts the pieces that a storefront offered on one day. The count may be too high: a run may be killed between the count and
 * the record of the piece.
 *
 * @example { storefront: 'did:web:storefront.example', day: '2027-02-03', pieces: 120, expiresAt: 1801958400 }
 */
export interface QuotaRecord {
  storefront: string
  /** A day in UTC. */
  day: string
  pieces: number
  /** Time after which the row may be removed, in seconds since 1970: one day after the end of its day. */
  expiresAt: number
}

const DAY_MS = 24 * 60 * 60 * 1000

/** Returns the key of the count of a storefront now. */
export const quotaKey = (storefront: string, now: number): { storefront: string; day: string } => ({
  storefront,
  day: new Date(now).toISOString().slice(0, 10),
})

const endOfDay = (now: number): number => (Math.floor(now / DAY_MS) + 1) * DAY_MS

/** Returns the time when a count made now may be removed, in seconds since 1970. */
export const quotaExpiry = (now: number): number => (endOfDay(now) + DAY_MS) / 1000

/** Returns the refusal of a piece with this number on its day, beginning with 1; `undefined` if the bound permits it. */
export const findExcess = (
  pieces: number,
  { did, piecesPerDay }: StorefrontBounds,
  now: number,
): Failure | undefined => {
  if (piecesPerDay === undefined || pieces <= piecesPerDay) return undefined
  const retryAt = new Date(endOfDay(now)).toISOString()
  return failure(
    'TooManyPieces',
    `${did} may offer ${piecesPerDay} new pieces a day (UTC), and this is one more. Repeat the offer after ${retryAt}, or ask the operator of the aggregator for a greater piecesPerDay.`,
    { retryAt },
  )
}
