import { type LivePlace, parsePlaceKey } from '@w3filecoin/capabilities'
import { type AggregateRecord, CHAIN_TOLERANCE_MS, isFinal, isSameOwner } from './aggregate.ts'
import { documentName, parseDocumentName } from './offer-document.ts'

/**
 * The offer that a place is credited to. Only this offer may be accepted with the place. The key is the place.
 *
 * @example { deal: '81234567', aggregateId: 'kD3wbPzc…', creditedAt: 1767225600000 }
 * @example { deal: 'sector:f020378/77 bafkzci…', aggregateId: 'kD3wbPzc…', creditedAt: 1767225600000 }
 */
export interface CreditRecord {
  /** @see {@link toCreditKey} */
  deal: string
  /** Record id of the offer. */
  aggregateId: string
  /** Record id of the order that the place was made for. Absent if no order of this dealer made it. */
  orderId?: string | undefined
  /** In milliseconds since 1970. */
  creditedAt: number
}

/**
 * Returns the key of the credit of a place for an aggregate: the key of the place, see `toPlaceKey`, and of a sector also the piece
 * CID, because a sector may have several aggregates.
 *
 * @example toCreditKey('pdp:314/0xbadd…557f/12/0', 'bafkzci…') // 'pdp:314/0xbadd…557f/12/0'
 * @example toCreditKey('sector:f020378/77', 'bafkzci…') // 'sector:f020378/77 bafkzci…'
 */
export const toCreditKey = (place: string, aggregate: string): string =>
  parsePlaceKey(place)?.type === 'sector' ? `${place} ${aggregate}` : place

/** The live places of an aggregate, the offers of it that are known, and the credits of these places. */
export interface Claims {
  /** The first one is preferred. */
  deals: readonly LivePlace[]
  offers: readonly AggregateRecord[]
  credits: readonly CreditRecord[]
}

/** Returns the credit of a place, from those for one aggregate. */
export const findCredit = <C extends CreditRecord>(
  { key }: { key: string },
  { credits }: { credits: readonly C[] },
): C | undefined => credits.find(({ deal }) => deal.split(' ', 1)[0] === key)

/**
 * Returns the deal that an offer may be accepted with, once the deal is credited to it. That is the lowest one that is
 * credited to it already; else the lowest one whose label names it; else the lowest one that may be its own. Of several open
 * offers for which a deal may have been made, the earliest one gets the deal.
 */
export const findDeal = (record: AggregateRecord, claims: Claims, now: number): LivePlace | undefined => {
  const { deals, offers } = claims
  const own = deals.find(deal => findCredit(deal, claims)?.aggregateId === record.id)
  if (own) return own
  const open = offers.filter(offer => !isFinal(offer)).sort(byAge)
  const free = deals.filter(
    deal =>
      !isReserved(deal, record, claims) &&
      open.find(offer => isMadeFor(deal, offer, claims, now))?.id === record.id,
  )
  return free.find(deal => compareLabel(deal, record, claims) === 'own') ?? free[0]
}

/**
 * Returns a live deal that may have been made for an offer, although {@link findDeal} finds none. While there is one, the
 * offer must not fail. The offer may have to wait for an earlier one. Or the deal is older than every offer of its
 * aggregate: then a clock was wrong, or another system made the deal.
 */
export const findPossibleDeal = (
  record: AggregateRecord,
  claims: Claims,
  now: number,
): LivePlace | undefined => {
  const { deals, offers } = claims
  const others = offers.filter(({ id }) => id !== record.id)
  return deals.find(
    deal =>
      !isReserved(deal, record, claims) &&
      (isMadeFor(deal, record, claims, now) ||
        (compareLabel(deal, record, claims) === 'silent' &&
          !others.some(offer => isSeenAfter(deal, offer, now)))),
  )
}

/** Counts the live places that are not another offer's. */
export const countCopies = (record: AggregateRecord, claims: Claims): number =>
  claims.deals.filter(deal => !isReserved(deal, record, claims)).length

/**
 * Whether a deal is credited to another offer. The credit is void if that offer ended without the deal: a run may have
 * been interrupted after the credit, and the receipt that was filed meanwhile decides. The copies that an accepted offer ordered besides
 * the one in its receipt stay its own.
 */
const isReserved = (deal: LivePlace, record: AggregateRecord, claims: Claims): boolean => {
  const credit = findCredit(deal, claims)
  if (credit === undefined || credit.aggregateId === record.id) return false
  const holder = claims.offers.find(({ id }) => id === credit.aggregateId)
  if (holder === undefined || !isFinal(holder) || holder.place === deal.key) return true
  return holder.stage === 'accepted' && credit.orderId !== undefined
}

/**
 * Whether a deal was made for an offer, as far as can be known. A deal whose label names the offer was. A deal without such
 * a label was if the tracker saw it after the offer. Instead of the offer, a failed one of the same owner may stand, which
 * this one retries.
 */
const isMadeFor = (deal: LivePlace, offer: AggregateRecord, claims: Claims, now: number): boolean => {
  switch (compareLabel(deal, offer, claims)) {
    case 'own':
      return true
    case 'other':
      return false
    case 'silent':
      return attemptsOf(offer, claims).some(attempt => isSeenAfter(deal, attempt, now))
  }
}

/**
 * Compares the label of a deal with an offer. The name of an offer document decides: it names one offer, of this dealer or
 * of another one. The label for people in the document is the aggregator's own text. It tells the offers of one aggregator
 * apart, but must not keep a deal from another aggregator. Any other text says nothing, because deal making may write
 * anything.
 */
const compareLabel = (
  { label }: LivePlace,
  offer: AggregateRecord,
  claims: Claims,
): 'own' | 'other' | 'silent' => {
  if (label === undefined) return 'silent'
  const attempts = attemptsOf(offer, claims)
  if (parseDocumentName(label) !== undefined)
    return attempts.some(attempt => documentName(attempt) === label) ? 'own' : 'other'
  const named = claims.offers.filter(
    ({ aggregator, label: text }) => aggregator === offer.aggregator && text === label,
  )
  return named.length === 0 || named.some(({ id }) => attempts.some(attempt => attempt.id === id))
    ? 'silent'
    : 'other'
}

/** Returns an offer and the failed offers of the same owner. */
const attemptsOf = (offer: AggregateRecord, { offers }: Claims): AggregateRecord[] => [
  offer,
  ...offers.filter(other => other.stage === 'failed' && isSameOwner(other, offer)),
]

/** Whether a deal was seen after an offer. If a clock was wrong when the offer was made, its time is unknown. */
const isSeenAfter = ({ seenAt }: LivePlace, { offeredAt }: AggregateRecord, now: number): boolean =>
  offeredAt > now || seenAt >= offeredAt - CHAIN_TOLERANCE_MS

const byAge = (a: AggregateRecord, b: AggregateRecord): number =>
  a.offeredAt - b.offeredAt || (a.id < b.id ? -1 : 1)
