import { UserError } from '@w3filecoin/service/user-error'

/** What went wrong, for people: in one line where they can do something about it, else all that is known. */
export const wordsOf = (cause: unknown): string =>
  cause instanceof UserError
    ? cause.message
    : isOutside(cause)
      ? `${cause.name}: ${cause.message}`
      : `${(cause as Error)?.stack ?? cause}`

/** What an operator can do something about: no credentials, no permission, nobody there. */
const isOutside = (cause: unknown): cause is Error =>
  cause instanceof Error &&
  (cause.name === 'CredentialsProviderError' ||
    cause.message === 'Region is missing' ||
    '$metadata' in cause ||
    'code' in cause)
