/**
 * Returns the message of an error and of its cause in one line. `fetch` has the reason in the cause.
 *
 * @example reasonOf(error) // 'fetch failed (connect ECONNREFUSED 127.0.0.1:9)'
 */
export const reasonOf = (error: unknown): string => {
  const { message, cause } = error as Error
  if (!(cause instanceof Error)) return message
  // `fetch` fails with one error for each address of the host. Their AggregateError has an empty message.
  const inner = cause instanceof AggregateError ? (cause.errors[0] as Error) : cause
  return `${message} (${inner.message || (inner as NodeJS.ErrnoException).code || inner.name})`
}
