import type { Failure } from '@w3filecoin/capabilities'

/** The codes of errors that arise in the client. Every other code is the name of a failure in docs/protocol.md. */
export type ClientErrorCode =
  | 'Unreachable'
  | 'InvalidAnswer'
  | 'UnsignedReceipt'
  | 'UnknownKeys'
  | 'UploadUnavailable'
  | 'UploadFailed'
  | 'InvalidSource'
  | 'SourceChanged'
  | 'SourceTooLarge'
  | 'KeyUnavailable'
  | 'InvalidProof'
  | 'FileMismatch'
  | 'PlaceMismatch'
  | 'WrongChain'
  | 'NodeBehind'
  | 'HistoryMissing'
  | 'SaveFailed'

interface Details {
  hint?: string | undefined
  retryable?: boolean
  retryAfterMs?: number | undefined
  failure?: Failure
  cause?: unknown
}

/**
 * An error of the client. The message says what happened, `hint` what to do.
 *
 * @example
 * try { await w3.add(file) } catch (error) {
 *   if (error instanceof W3Error && error.code === 'SpaceNotListed') askTheOperator(error.hint)
 * }
 */
export class W3Error extends Error {
  /** `W3Error`. */
  override readonly name = 'W3Error'
  /** What happened, for programs: the name of a failure of the protocol, or a {@link ClientErrorCode}. */
  readonly code: ClientErrorCode | (string & {})
  /** Whether the same call may succeed later. The client has already repeated requests that are worth repeating at once. */
  readonly retryable: boolean
  /** What to do, as a sentence for people. */
  readonly hint: string | undefined
  /** Time after which the service asks to repeat the request, in milliseconds. */
  readonly retryAfterMs: number | undefined
  /** The failure in a receipt, with the fields that the protocol defines for it. */
  readonly failure: Failure | undefined

  /** @internal */
  constructor(
    code: ClientErrorCode | (string & {}),
    message: string,
    { hint = HINTS.get(code), retryable = RETRYABLE.has(code), retryAfterMs, failure, cause }: Details = {},
  ) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.hint = hint
    this.retryable = retryable
    this.retryAfterMs = retryAfterMs
    this.failure = failure
  }
}

const RETRYABLE = new Set([
  'Unreachable',
  'UploadFailed',
  'HandlerExecutionError',
  'OutcomePending',
  'TooManyOffers',
  'TooManyPieces',
  'TooManyUploads',
  'TooManyInvocations',
])

const HINTS = new Map([
  [
    'Unreachable',
    'Check the address and the connection, and repeat the call: repeated offers cause nothing twice.',
  ],
  ['InvalidAnswer', 'Check that the address is that of a service of the W3 Filecoin Protocol.'],
  ['UnsignedReceipt', 'Do not rely on this answer: the service did not sign it.'],
  ['UnknownKeys', 'Pass the keys of the service in `keys`, or its saved DID document in `document`.'],
  ['SourceChanged', 'Repeat the call when no other program writes to the file.'],
  ['SourceTooLarge', 'Save the stream to a file and add the file: its content is read twice.'],
  ['KeyUnavailable', 'Pass a signer in `signer`.'],
  ['InvalidProof', 'Fetch the proof again: add the same file, or save the receipt of its task.'],
  [
    'ContentNotFound',
    'Upload the content under its CID to the place that the storefront reads, and add it again.',
  ],
  ['InvalidPieceCID', 'Compute the piece from the content with identify().'],
  ['InvalidContentPiece', 'Compute the piece from the content with identify(), and offer it again.'],
  ['ProofNotFound', 'No aggregate with this piece was stored. Offer the piece again with a new nonce.'],
  ['RecordNotFound', 'Check the piece CID: this service was never offered it.'],
  ['TaskNotFound', 'Check the CID of the task, and that the piece is the one that it was promised for.'],
  ['OutcomePending', 'The task has no outcome yet. Follow it with watch(), or repeat the call later.'],
  ['TooManyOffers', 'Repeat the offer after `failure.retryAt`.'],
  ['TooManyPieces', 'Repeat the offer after `failure.retryAt`.'],
  ['TooManyUploads', 'Repeat the call after `failure.retryAt`.'],
  [
    'BlobSizeOutsideOfSupportedRange',
    'Store the content where the storefront reads it, and call offer(). Or pass `upload` to connect().',
  ],
  ['TooManyReceiptsAddresses', 'Repeat the offer without `receiptsTo`, and fetch the receipt with `proof`.'],
  [
    'SpaceNotListed',
    'Ask the operator of the storefront to list the space, or pass a listed space and its delegation.',
  ],
  ['Unauthorized', 'Pass the space in `with`, and its delegation to the agent in `proofs`.'],
  ['HandlerExecutionError', 'The service failed. Repeat the call later.'],
])

/** Returns the error of a failure in a receipt. */
export const toError = (failure: Failure): W3Error => {
  const { name, message, retryAt } = failure as Failure & { retryAt?: unknown }
  return new W3Error(name, message ?? name, {
    failure,
    hint: HINTS.get(name) ?? undefined,
    ...(typeof retryAt === 'string' && { hint: `Repeat the call after ${retryAt}.` }),
  })
}

/** Returns the reason of a caught error, for the message of another one. */
export const reasonOf = (cause: unknown): string => {
  const { message, cause: inner } = cause as { message?: string; cause?: { message?: string } }
  return inner?.message ? `${message}: ${inner.message}` : (message ?? `${cause}`)
}
