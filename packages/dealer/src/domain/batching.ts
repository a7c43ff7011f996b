/** Sizes of batches. Tests use smaller ones, so that a few pieces make several batches. */
export interface Batching {
  /** Pieces of a failed aggregate that one `retry` message covers. */
  rangePieces: number
}

/** 400 packed tasks are about 400 KB. */
export const BATCHING: Batching = { rangePieces: 400 }
