import type { OpenOffer } from '@w3filecoin/capabilities'
import type { AggregateRecord } from './aggregate.ts'

/** The facts of an offer that deal making needs besides the aggregate and its pieces: brokers get the same ones. */
type OfferFacts = Pick<OpenOffer, 'source' | 'collection' | 'tenant' | 'group' | 'label' | 'orderID'>

/** A JSON document that describes one aggregate to deal making, in the shape that Spade reads. */
export interface OfferDocument extends OfferFacts {
  /** Piece CID of the aggregate. */
  aggregate: string
  /** Piece CIDs in the order of the aggregate. */
  pieces: string[]
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

export const describeOffer = (
  { storefront, group, label, offeredAt }: Described,
  source?: string,
): OfferFacts => ({
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
