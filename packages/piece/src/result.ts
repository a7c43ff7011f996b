/** What a computation yields: the value asked for, or the reason why there is none. Nothing is thrown. */
export type Result<T, E> = { ok: T; error?: undefined } | { ok?: undefined; error: E }
