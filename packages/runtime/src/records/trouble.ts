/**
 * The last problem of a step that is still being retried, for operators.
 *
 * @example { message: 'did:web:dealer.test cannot be reached', at: 1767225600000, times: 3 }
 */
export interface Trouble {
  message: string
  /** In milliseconds since 1970. */
  at: number
  /** How often the step has failed since the record reached its stage. */
  times: number
}

/** Counts a problem. */
export const addTrouble = (
  before: Pick<Trouble, 'times'> | undefined,
  message: string,
  now: number,
): Trouble => ({ message, at: now, times: (before?.times ?? 0) + 1 })
