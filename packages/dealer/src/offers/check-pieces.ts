import { decode } from '@ipld/dag-cbor'
import { type Failure, failure, type PieceLink, type Result } from '@w3filecoin/capabilities'
import { type InvalidPieceCID, recompute } from '@w3filecoin/piece'
import { isLink } from 'multiformats/link'

/** The reason why a list of pieces does not make an aggregate. */
export interface InvalidPieces extends Failure {
  /** The invalid pieces, each with the reason. Empty if the list as a whole is wrong. */
  cause: readonly InvalidPieceCID[]
  /** All pieces in the list, the valid ones too. */
  pieces: readonly PieceLink[]
}

/**
 * Recomputes an aggregate from the DAG-CBOR list of its pieces. Returns the pieces if they make the aggregate in their
 * order.
 *
 * @param bytes the block with the list; `undefined` if the offer came without it
 */
export const checkPieces = (
  bytes: Uint8Array | undefined,
  aggregate: PieceLink,
): Result<PieceLink[], InvalidPieces> => {
  const refuse = (
    message: string,
    { cause = [], pieces = [] }: Partial<Pick<InvalidPieces, 'cause' | 'pieces'>> = {},
  ) => ({ error: failure('InvalidPiece', message, { cause, pieces }) })
  if (bytes === undefined)
    return refuse('The block with the list of pieces is missing. Attach it to the invocation')
  let pieces: PieceLink[]
  try {
    pieces = decode(bytes as Uint8Array<ArrayBuffer>)
  } catch (cause) {
    return refuse(`The block with the list of pieces is not valid DAG-CBOR: ${(cause as Error).message}`)
  }
  if (!(Array.isArray(pieces) && pieces.every(isLink)))
    return refuse('The block with the list of pieces does not contain a list of links')
  const computed = recompute(pieces, aggregate)
  if (computed.error)
    return refuse(computed.error.message, {
      cause: computed.error.name === 'InvalidPiece' ? computed.error.cause : [],
      pieces,
    })
  return `${computed.ok}` === `${aggregate}`
    ? { ok: pieces }
    : refuse(`The pieces make the aggregate ${computed.ok}, not ${aggregate}`, { pieces })
}
