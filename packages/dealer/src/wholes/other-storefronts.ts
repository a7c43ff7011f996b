import type { Dependencies } from '../dependencies.ts'
import type { WholeRecord } from '../domain/whole.ts'

/** Offers of one aggregate whose storefronts are compared. */
const MAX_OFFERS = 100

/**
 * Returns the other storefronts that can serve the pieces of an aggregate, in the order in which they are asked: those of its open and
 * accepted offers that have an address, and served no wrong bytes. Offers of an aggregate have one whole, and the storefront of one of
 * them must not keep the others from it.
 */
export const findOtherStorefronts = async (
  { stores, pieceSources }: Pick<Dependencies, 'stores' | 'pieceSources'>,
  { id: aggregate, storefront, suspects = [] }: WholeRecord,
): Promise<string[]> => {
  const { items } = await stores.aggregate.find('aggregate', aggregate, { limit: MAX_OFFERS })
  const offers = await stores.aggregate.getMany(items)
  const named = offers.flatMap(offer => (offer && offer.stage !== 'failed' ? [offer.storefront] : []))
  const others = [...new Set(named)]
    .filter(name => name !== storefront && pieceSources.has(name) && !suspects.includes(name))
    .toSorted()
  return [...others.filter(name => name > storefront), ...others.filter(name => name < storefront)]
}
