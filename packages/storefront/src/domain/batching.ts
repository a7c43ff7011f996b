/** How much is done at a time. Tests have less, so that a little content makes several of each. */
export interface Batching {
  /** Pieces of an aggregate that one message ends; the rest is left to the next. */
  pageRecords: number
}

export const BATCHING: Batching = { pageRecords: 100 }
