import type { Dependencies } from '../dependencies.ts'
import type { PieceSource, WholeRecord } from '../domain/whole.ts'
import { findOffers } from '../offers/find-offers.ts'

/**
 * Returns the other sources of the pieces of an aggregate, in the order in which they are asked: the storefronts of its open and
 * accepted offers that have an address, and served no wrong bytes, each with its list. Offers of an aggregate have one whole, and the
 * storefront of one of them must not keep the others from it.
 */
export const findOtherSources = async (
  dependencies: Pick<Dependencies, 'stores' | 'pieceSources'>,
  { id: aggregate, storefront: last, suspects = [] }: WholeRecord,
): Promise<PieceSource[]> => {
  const { pieceSources } = dependencies
  const others = new Map<string, PieceSource>()
  for (const { storefront, piecesCid, stage } of await findOffers(dependencies, aggregate))
    if (stage !== 'failed' && pieceSources.has(storefront) && ![last, ...suspects].includes(storefront))
      others.set(storefront, { storefront, piecesCid })
  // After the last one, by name, and then from the first one: so each is asked in turn.
  return [...others.values()].toSorted(
    (a, b) =>
      Number(a.storefront < last) - Number(b.storefront < last) || (a.storefront < b.storefront ? -1 : 1),
  )
}
