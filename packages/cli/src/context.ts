import type { Fetch } from '@w3filecoin/client'

/** A text stream: stdout or stderr, or one of a test. */
export interface Output {
  write(text: string): unknown
  isTTY?: boolean | undefined
  columns?: number | undefined
  rows?: number | undefined
}

/** The surroundings of a command that it uses. */
export interface Context {
  env: Record<string, string | undefined>
  /** The user's working directory. */
  cwd: string
  fetch: Fetch
  /** Milliseconds since 1970. */
  now: () => number
  /** For progress. Only results go to stdout. */
  stderr: Output
  /** Aborts when the user interrupts the command. */
  signal: AbortSignal
  /** The command line, to repeat it. @example `w3fil add photos` */
  commandLine: string
  /** Prints a line for people. */
  note(text: string): void
}
