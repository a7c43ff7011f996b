import type { Dependencies } from '../dependencies.ts'
import type { AggregateRecord } from '../domain/aggregate.ts'

/** Offers of one aggregate that are read. */
const MAX_OFFERS = 100

/** Returns the offers of an aggregate, which share its whole. The index may lack the newest ones. */
export const findOffers = async (
  { stores }: Pick<Dependencies, 'stores'>,
  aggregate: string,
): Promise<AggregateRecord[]> => {
  const { items } = await stores.aggregate.find('aggregate', aggregate, { limit: MAX_OFFERS })
  return (await stores.aggregate.getMany(items)).filter(offer => offer !== undefined)
}
