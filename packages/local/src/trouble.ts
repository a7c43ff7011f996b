/** What keeps the system from starting or from going on, in one line for a person. Everything else is a bug. */
export class Trouble extends Error {
  override readonly name = 'Trouble'
}
