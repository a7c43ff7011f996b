/** Sizes of batches. Tests use smaller ones, so that a few pieces make several batches. */
export interface Batching {
  /** Pieces of a failed aggregate that one `retry` message covers. */
  rangePieces: number
  /** Bytes of a part of a whole: 127 times a power of two. S3 permits 10,000 parts, of at least 5 MiB but for the last one. */
  partBytes: number
}

/** 400 packed tasks are about 400 KB. A part is 64 MiB after padding. */
export const BATCHING: Batching = { rangePieces: 400, partBytes: 127 * 2 ** 19 }
