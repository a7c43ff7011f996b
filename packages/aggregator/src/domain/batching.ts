/** Sizes of batches. Tests use smaller ones, so that a few pieces make several batches of each kind. */
export interface Batching {
  /** Pieces of an aggregate that one `include` message covers. */
  rangePieces: number
  /** Rows of a group's list that are read in one page. */
  pageRows: number
  /** Rows that are read to fill gaps once the chosen pieces make an aggregate. */
  lookaheadRows: number
}

/** A range of 400 pieces with their proofs is at most about 1 MB. */
export const BATCHING: Batching = { rangePieces: 400, pageRows: 500, lookaheadRows: 5_000 }
