/** How much is done at a time. Tests have less, so that a few deals make several of each. */
export interface Batching {
  /** Deals that are written in one go. */
  rangeDeals: number
}

/** 1,000 deals are some 200 KB. */
export const BATCHING: Batching = { rangeDeals: 1000 }
