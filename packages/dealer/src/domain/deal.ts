import type { DealInfoSuccess } from '@w3filecoin/capabilities'

/** The deal that counts for an aggregate: of those that are live, the one with the lowest id. */
export const liveDeal = ({ deals }: DealInfoSuccess): number | undefined =>
  Object.entries(deals)
    .filter(([, { status }]) => status === 'Active')
    .map(([id]) => Number(id))
    .sort((a, b) => a - b)[0]
