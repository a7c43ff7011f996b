/** How much is done at a time. Tests have less, so that a little content makes several of each. */
export interface Sizes {
  /** Pieces of an aggregate that are told in one go. */
  range: number
  /** Rows of the list of a group that are read at once. */
  page: number
  /** Rows that are read to fill the rest of an aggregate, when what was chosen makes one. */
  lookahead: number
}

/** 400 pieces with their proofs are about 1 MB at the most. */
export const SIZES: Sizes = { range: 400, page: 500, lookahead: 5_000 }
