/** The result of a function that can fail in expected ways. Bugs and bad configuration are thrown instead. */
export type Result<T, E = Failure> = { ok: T; error?: undefined } | { ok?: undefined; error: E }

/**
 * An expected failure, which callers distinguish by its name. It is plain data without a class or a stack trace, so that a
 * receipt can carry it unchanged.
 *
 * @example `{ name: 'ContentNotFound', message: 'The content bafk… was not found' }`
 */
export interface Failure {
  /** The name, without the suffix `Error`, e.g. `InvalidPiece`. */
  name: string
  /** One sentence for people. */
  message: string
  /** The cause: an error for the logs, or the failure that the protocol names as the cause. */
  cause?: unknown
}

/** Builds a successful result. */
export const ok = <T>(value: T): { ok: T } => ({ ok: value })

/** Builds a failed result. */
export const error = <E extends Failure>(failure: E): { error: E } => ({ error: failure })

/**
 * Builds a failure, with the additional fields that the protocol defines for it.
 *
 * @example failure('DealNotFound', `No deal of ${piece} is known`, { piece })
 */
export const failure = <N extends string, F extends object = object>(
  name: N,
  message: string,
  fields?: F,
): { name: N; message: string } & F => ({ name, message, ...fields }) as { name: N; message: string } & F
