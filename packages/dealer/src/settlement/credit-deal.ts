import type { LivePlace } from '@w3filecoin/capabilities'
import type { Stored } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import type { AggregateRecord } from '../domain/aggregate.ts'
import { type Claims, type CreditRecord, findCredit, toCreditKey } from '../domain/credit.ts'
import { parseDocumentName } from '../domain/offer-document.ts'

/** Offers of one aggregate that are compared, the earliest ones first. */
const MAX_OFFERS = 500

type Reading = Claims & { credits: readonly Stored<CreditRecord>[] }

/**
 * Reads the credits of an aggregate's live deals, and the offers that may claim them. The index may lack offers; the
 * credits decide. An offer that earlier code accepted has no credit yet: this writes it.
 */
export const readClaims = async (
  { stores, now }: Pick<Dependencies, 'stores' | 'now'>,
  record: AggregateRecord,
  deals: readonly LivePlace[],
): Promise<Reading> => {
  if (deals.length === 0) return { deals, offers: [record], credits: [] }
  const { items } = await stores.aggregate.find('aggregate', record.aggregate, { limit: MAX_OFFERS })
  const keyOf = ({ key }: LivePlace) => toCreditKey(key, record.aggregate)
  const stored = await stores.credit.getMany(deals.map(deal => ({ deal: keyOf(deal) })))
  const credits = stored.filter(credit => credit !== undefined)
  const ids = new Set([
    ...items.map(({ id }) => id as string),
    ...credits.map(({ aggregateId }) => aggregateId),
    ...deals.flatMap(({ label }) => parseDocumentName(label ?? '') ?? []),
  ])
  ids.delete(record.id)
  const found = await stores.aggregate.getMany([...ids].map(id => ({ id })))
  const others = found.filter(other => other?.aggregate === record.aggregate) as Stored<AggregateRecord>[]
  for (const { id, place } of others) {
    const deal = deals.find(({ key }) => key === place)
    if (deal === undefined || findCredit(deal, { credits })) continue
    const inserted = await stores.credit.insert({ deal: keyOf(deal), aggregateId: id, creditedAt: now() })
    credits.push(inserted.ok ?? inserted.error.record)
  }
  return { deals, offers: [record, ...others], credits }
}

/** Credits a deal to an offer, by one conditional write. Returns whether this offer has the credit now. */
export const creditDeal = async (
  { stores, now }: Pick<Dependencies, 'stores' | 'now'>,
  { id, aggregate }: AggregateRecord,
  deal: LivePlace,
  claims: Reading,
): Promise<boolean> => {
  const key = toCreditKey(deal.key, aggregate)
  const credit: CreditRecord = { deal: key, aggregateId: id, creditedAt: now() }
  const known = findCredit(deal, claims)
  if (known?.aggregateId === id) return true
  // A void credit passes to this offer.
  if (known) return (await stores.credit.replace({ ...known, ...credit })).ok !== undefined
  const inserted = await stores.credit.insert(credit)
  return (inserted.ok ?? inserted.error.record).aggregateId === id
}
