/** How much is done at a time. Tests have less, so that a little content makes several of each. */
export interface Batching {
  /** Pieces of an aggregate that are told in one go. */
  rangePieces: number
  /** Rows of the list of a group that are read at once. */
  pageRows: number
  /** Rows that are read to fill the rest of an aggregate, when what was chosen makes one. */
  lookaheadRows: number
}

/** 400 pieces with their proofs are about 1 MB at the most. */
export const BATCHING: Batching = { rangePieces: 400, pageRows: 500, lookaheadRows: 5_000 }
