import type { W3Error } from '@w3filecoin/client'
import { UserError } from '@w3filecoin/runtime/user-error'

/** Why a command failed. Every W3Error of the client is one. */
export type Reason = Pick<W3Error, 'code' | 'message' | 'hint' | 'retryable'>

/** An error of the command itself. Not a W3Error: `--help` and `ops` do not load the client. */
export class CommandError extends Error implements Reason {
  override readonly name = 'CommandError'
  readonly code: string
  readonly hint: string | undefined
  readonly retryable: boolean

  constructor(
    code: string,
    message: string,
    { hint, retryable = false }: { hint?: string | undefined; retryable?: boolean } = {},
  ) {
    super(message)
    this.code = code
    this.hint = hint
    this.retryable = retryable
  }
}

/** The result of a command. */
export interface Outcome {
  /** For programs: the `result` of the envelope. */
  result: unknown
  /** The same for people, as lines. */
  lines: readonly string[]
  /** Present if the command has a result, but did not reach its aim. */
  error?: Reason | undefined
}

/** The JSON that a command prints with `--json`. `ok` is true if and only if the exit code is 0. */
export type Envelope =
  | { ok: true; command: string; result: unknown }
  | {
      ok: false
      command: string
      error: { code: string; message: string; hint: string | null; retryable: boolean }
      /** Present if the command has one nonetheless, e.g. the files that were added before it was interrupted. */
      result?: unknown
    }

export const EXIT_CODES = {
  done: 0,
  failed: 1,
  usage: 2,
  notYet: 3,
  unreachable: 4,
  invalidProof: 5,
  interrupted: 130,
} as const

/** The exit code by the code of the error. Every other error is `failed`. */
const EXITS = new Map<string, keyof typeof EXIT_CODES>([
  ['Usage', 'usage'],
  ['OutcomePending', 'notYet'],
  ['NeedsOperator', 'notYet'],
  ['Unreachable', 'unreachable'],
  ['InvalidProof', 'invalidProof'],
  ['FileMismatch', 'invalidProof'],
  ['PlaceMismatch', 'invalidProof'],
  ['Interrupted', 'interrupted'],
])

export const exitCodeOf = (error: Reason | undefined): number =>
  error === undefined ? EXIT_CODES.done : EXIT_CODES[EXITS.get(error.code) ?? 'failed']

export const envelopeOf = (command: string, { result, error }: Partial<Outcome>): Envelope => {
  if (error === undefined) return { ok: true, command, result }
  const { code, message, retryable } = error
  const failure = { code, message, hint: hintOf(error) ?? null, retryable }
  return { ok: false, command, error: failure, ...(result !== undefined && { result }) }
}

/** An error of the command line. */
export const usageError = (message: string, hint: string): CommandError =>
  new CommandError('Usage', message, { hint })

/** Returns the reason of anything that a command throws. That of a bug has the stack as its message. */
export const toReason = (cause: unknown): Reason => {
  if (cause instanceof CommandError || (cause as Error)?.name === 'W3Error') return cause as Reason
  // Its message says what to do, too.
  if (cause instanceof UserError) return new CommandError('Failed', cause.message)
  return new CommandError('InternalError', `${(cause as Error)?.stack ?? cause}`, {
    hint: 'This is a bug of w3fil. Report it with this message.',
  })
}

/** What to do, where the hint of the client names its calls instead of the options of a command. */
const HINTS = new Map([
  ['OutcomePending', 'Repeat the command later, or follow the task with w3fil status --watch.'],
  ['UnknownKeys', 'Pass its keys with --keys, or its saved DID document with --document.'],
  ['InvalidProof', 'Fetch the proof again with w3fil proof, or add the same file again.'],
  [
    'UploadUnavailable',
    'Store the content where the storefront reads it and pass --no-upload, or pass --upload.',
  ],
  [
    'BlobSizeOutsideOfSupportedRange',
    'Store the content where the storefront reads it and pass --no-upload, or pass --upload.',
  ],
  ['InvalidReceiptsAddress', 'Pass an https address with --receipts-to.'],
  [
    'TooManyReceiptsAddresses',
    'Repeat the command without --receipts-to; w3fil proof TASK fetches the receipt.',
  ],
  ['InvalidPieceCID', 'Compute the piece with w3fil cid.'],
  [
    'InvalidContentPiece',
    'The storefront has other content under this CID. Compute both CIDs with w3fil cid.',
  ],
  ['ProofNotFound', 'No aggregate with this piece got a deal. Add the file again with another --nonce.'],
  ['Unauthorized', 'Pass the space with --with, and its delegation to your key with --delegation.'],
  [
    'SpaceNotListed',
    'Ask the operator of the storefront to list the space. Or pass a listed one with --with and its --delegation.',
  ],
])

export const hintOf = ({ code, hint }: Reason): string | undefined => HINTS.get(code) ?? hint
