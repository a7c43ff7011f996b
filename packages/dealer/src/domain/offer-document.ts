import type { AggregateRecord } from './aggregate.ts'

/** A JSON document that describes one aggregate to deal making, in the shape that Spade reads. */
export interface OfferDocument {
  /** Piece CID of the aggregate. */
  aggregate: string
  /** Piece CIDs in the order of the aggregate. */
  pieces: string[]
  /**
   * URL at which each piece can be fetched, with `{piece}` in place of its CID. Absent if the configuration has none for the
   * storefront.
   *
   * @example 'https://storefront.example.com/piece/1769904000.bafkzci….x3Fq…/{piece}'
   */
  source?: string
  /** Name under which deal making collects deals: the group. */
  collection: string
  /** The storefront that the pieces are from. */
  tenant: string
  group: string
  /** Name of the aggregate for people, e.g. `free #7`. */
  label: string
  /** When the aggregate was offered, in milliseconds since 1970. */
  orderID: number
}

type Described = Pick<AggregateRecord, 'aggregate' | 'storefront' | 'group' | 'label' | 'offeredAt'>

export const newOfferDocument = (
  record: Described,
  pieces: readonly { toString(): string }[],
  source?: string,
): OfferDocument => ({
  aggregate: record.aggregate,
  pieces: pieces.map(piece => `${piece}`),
  ...describeOffer(record, source),
})

/** Returns the facts of an offer that deal making needs, without the aggregate and its pieces. */
export const describeOffer = (
  { storefront, group, label, offeredAt }: Described,
  source?: string,
): Omit<OfferDocument, 'aggregate' | 'pieces'> => ({
  ...(source !== undefined && { source }),
  collection: group,
  tenant: storefront,
  group,
  label,
  orderID: offeredAt,
})

/**
 * Returns the name of an aggregate's offer document: its piece CID and its record id. An aggregate that is offered with
 * another nonce has another document.
 *
 * @example 'bafkzci…/kD3wbPzc….json'
 */
export const documentName = ({ aggregate, id }: { aggregate: string; id: string }): string =>
  `${aggregate}/${id}.json`

/** Returns the record id in the name of an offer document; `undefined` if the text is not such a name. */
export const parseDocumentName = (name: string): string | undefined =>
  /^[a-z0-9]+\/([\w-]{43})\.json$/.exec(name)?.[1]
