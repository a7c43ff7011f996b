/** The result of a computation: a value or an error. A function that returns one does not throw that error. */
export type Result<T, E> = { ok: T; error?: undefined } | { ok?: undefined; error: E }
