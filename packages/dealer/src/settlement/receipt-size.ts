import type { Signer } from '@ucanto/interface'
import { type PieceLink, parsePieceLink } from '@w3filecoin/capabilities'
import { createRetries, type FailedAggregate } from './retries.ts'

/** Bytes of a task in a receipt besides its block: the CID before the block, and the link to it. */
const LINK_BYTES = 80

/**
 * Bytes of a receipt besides its tasks: the invalid pieces, each with a reason of at most 500 characters, and the rest.
 */
const BASE_BYTES = 1_700_000

/** Computes an upper bound for the bytes of the receipt that an aggregate of these pieces gets if it fails. */
export const boundReceiptBytes = async (
  id: Signer,
  failed: FailedAggregate,
  pieces: readonly PieceLink[],
): Promise<number> => {
  const longest = pieces.reduce(
    (a, b) => (b.byteLength > a.byteLength ? b : a),
    parsePieceLink(failed.aggregate),
  )
  const { bytes } = await createRetries(id, failed)(longest)
  return BASE_BYTES + pieces.length * (bytes.byteLength + LINK_BYTES)
}
