/** How much is done at a time. Tests have less, so that a few deals make several of each. */
export interface Sizes {
  /** Deals that are written in one go. */
  range: number
}

/** 1,000 deals are some 200 KB. */
export const SIZES: Sizes = { range: 1000 }
