/** How much is done at a time. Tests have less, so that a few deals make several of each. */
export interface Sizes {
  /** Deals that are written in one go. */
  range: number
}

export const SIZES: Sizes = { range: 1000 }
