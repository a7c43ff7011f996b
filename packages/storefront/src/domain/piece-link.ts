import { failure, type PieceLink, parsePieceLink, type Result } from '@w3filecoin/capabilities'
import { decodePiece, toV1 } from '@w3filecoin/piece'

/**
 * Height of the largest piece that any sector holds: 2^31 nodes of 32 bytes are 64 GiB, Filecoin's largest sector. No
 * aggregate and no deal can contain a larger piece.
 */
const MAX_HEIGHT = 31

/** Checks that a piece with this link can exist. Fails with `InvalidPieceCID`. */
export const checkPiece = (piece: PieceLink): Result<object> => {
  const { ok: decoded, error } = decodePiece(piece)
  if (error) return { error: failure('InvalidPieceCID', `${piece}: ${error.message}`, { piece }) }
  if (decoded.height > MAX_HEIGHT)
    return {
      error: failure(
        'InvalidPieceCID',
        `${piece} has height ${decoded.height}: no sector holds a piece above height ${MAX_HEIGHT} (64 GiB)`,
        { piece },
      ),
    }
  return { ok: {} }
}

/**
 * Returns the piece CID v1 of a piece that {@link checkPiece} accepted, in which other systems name it.
 *
 * @example rootOf('bafkzcib…') // 'baga6ea4seaq…'
 */
export const rootOf = (piece: string): string => {
  const { ok, error } = toV1(parsePieceLink(piece))
  if (error) throw new Error(error.message)
  return `${ok.root}`
}
