/**
 * An error that the user can fix. The commands print its message as one line, without a stack; every other error is a
 * bug. The message says what happened, to what, and what to do.
 *
 * @example new UserError('Port 4001 is in use. Stop the other process or pass --port.')
 */
export class UserError extends Error {
  override readonly name = 'UserError'
}
