/**
 * What is expected is a `Result`; what is thrown is a bug or bad configuration.
 */
export type Result<T, E = Failure> = { ok: T; error?: undefined } | { ok?: undefined; error: E }

/**
 * An expected failure: a fact with a name that callers can tell apart. Plain data, so that it may leave a
 * service inside a receipt as it is: no stack trace, no class.
 */
export interface Failure {
  /** Names the fact, without an `Error` suffix: `ContentNotFound`, `InvalidPiece`. */
  name: string
  /** One sentence for a person. */
  message: string
  /** What led to it, kept for logs and for the protocol's own causes. */
  cause?: unknown
}

export const ok = <T>(value: T): { ok: T } => ({ ok: value })

export const error = <E extends Failure>(failure: E): { error: E } => ({ error: failure })

/** Builds a named failure with the fields that the protocol gives it. */
export const failure = <N extends string, F extends object = object>(
  name: N,
  message: string,
  fields?: F,
): { name: N; message: string } & F => ({ name, message, ...fields }) as { name: N; message: string } & F
