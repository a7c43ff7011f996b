import type { DealInfoSuccess } from '@w3filecoin/capabilities'

/** Returns the id of the deal that counts for an aggregate: the lowest id of its active deals. */
export const findLiveDeal = ({ deals }: DealInfoSuccess): number | undefined =>
  Object.entries(deals)
    .filter(([, { status }]) => status === 'Active')
    .map(([id]) => Number(id))
    .sort((a, b) => a - b)[0]
