import { UserError } from '@w3filecoin/runtime/user-error'

/** Returns one line for errors that an operator can fix, and the stack of every other error. */
export const describeError = (cause: unknown): string =>
  cause instanceof UserError
    ? cause.message
    : isEnvironmental(cause)
      ? `${cause.name}: ${cause.message}`
      : `${(cause as Error)?.stack ?? cause}`

/** Whether the environment causes an error: no credentials, no permission, no server at the address. */
export const isEnvironmental = (cause: unknown): cause is Error =>
  cause instanceof Error &&
  (cause.name === 'CredentialsProviderError' ||
    cause.message === 'Region is missing' ||
    '$metadata' in cause ||
    'code' in cause)
