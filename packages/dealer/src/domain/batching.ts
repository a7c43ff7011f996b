/** How much is done at a time. Tests have less, so that a little content makes several of each. */
export interface Batching {
  /** Pieces of a failed aggregate that are offered again in one go. */
  rangePieces: number
}

/** 400 tasks are some 400 KB. */
export const BATCHING: Batching = { rangePieces: 400 }
