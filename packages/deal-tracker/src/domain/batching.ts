/** Batch sizes. The simulation injects smaller ones, so that a few deals already make several batches. */
export interface Batching {
  /** Deals in one range: in one block, one message and one run of the consumer. */
  rangeDeals: number
}

/** 1,000 deals are a block of about 300 KB. */
export const BATCHING: Batching = { rangeDeals: 1000 }
