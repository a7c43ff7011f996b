import { type DealInfoSuccess, epochToMs } from '@w3filecoin/capabilities'

/** A deal of an aggregate that is live on chain. */
export interface LiveDeal {
  /** Id in the built-in market. */
  id: number
  /** The text that the deal carries on chain. */
  label?: string | undefined
  /** Time of the chain state in which the tracker saw the deal first, in milliseconds since 1970. `NaN` if unknown. */
  seenAt: number
}

/** Returns the active deals, the lowest id first. An entry without a market id, or with id 0, is not a deal of the market. */
export const findLiveDeals = ({ deals }: Pick<DealInfoSuccess, 'deals'>): LiveDeal[] =>
  Object.entries(deals)
    .filter(([id, { status }]) => status === 'Active' && Number(id) > 0)
    .map(([id, { label, seen, created }]) => ({
      id: Number(id),
      label,
      seenAt: seen === undefined ? Date.parse(created) : epochToMs(seen.epoch),
    }))
    .sort((a, b) => a.id - b.id)
