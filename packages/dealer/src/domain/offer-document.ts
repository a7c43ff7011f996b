import type { AggregateRecord } from './aggregate.ts'

/** What deal making reads: one JSON document an aggregate, in the shape that Spade reads. */
export interface OfferDocument {
  /** Piece CID of the aggregate. */
  aggregate: string
  /** Piece CIDs in the order of the aggregate. */
  pieces: string[]
  /** What the deals belong to together; the group. */
  collection: string
  /** The storefront that the pieces are from. */
  tenant: string
  group: string
  /** Names the aggregate for people. */
  label: string
  /** When the aggregate was offered, in milliseconds since 1970. */
  orderID: number
}

/** For whom an aggregate is, as the facts of `aggregate/offer` say; of an aggregator that says nothing, itself. */
export const tenantOf = (
  facts: readonly Record<string, unknown>[],
  aggregator: string,
): { storefront: string; group: string; label: string } => {
  const text = (name: string, fallback: string): string => {
    const value = facts.map(fact => fact[name]).find(value => typeof value === 'string')
    return (value as string | undefined) ?? fallback
  }
  const group = text('group', aggregator)
  return { storefront: text('storefront', aggregator), group, label: text('label', group) }
}

export const documentOf = (
  {
    aggregate,
    storefront,
    group,
    label,
    offeredAt,
  }: Pick<AggregateRecord, 'aggregate' | 'storefront' | 'group' | 'label' | 'offeredAt'>,
  pieces: readonly { toString(): string }[],
): OfferDocument => ({
  aggregate,
  pieces: pieces.map(piece => `${piece}`),
  collection: group,
  tenant: storefront,
  group,
  label,
  orderID: offeredAt,
})

/** Name of the document: one for every offer that is processed anew. */
export const documentName = ({ aggregate, id }: { aggregate: string; id: string }): string =>
  `${aggregate}/${id}.json`

/** Id of the record whose document has this name; `undefined` if it is no name of a document. */
export const recordIn = (name: string): string | undefined => /^[a-z0-9]+\/([\w-]{43})\.json$/.exec(name)?.[1]
