/** Batch sizes. Tests set smaller ones, so that a few pieces fill several batches. */
export interface Batching {
  /** Maximum pieces of an aggregate that one message settles; a second message continues with the next page. */
  pageRecords: number
}

export const BATCHING: Batching = { pageRecords: 100 }
