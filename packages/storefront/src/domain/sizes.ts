/** How much is done at a time. Tests have less, so that a little content makes several of each. */
export interface Sizes {
  /** Pieces of an aggregate that one message ends; the rest is left to the next. */
  page: number
}

export const SIZES: Sizes = { page: 100 }
