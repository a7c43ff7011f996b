import type { PieceLink } from '@w3filecoin/capabilities'
import { decodePiece, joinPieces, type Piece, type Whole } from '@w3filecoin/piece'
import { type WrongPiece, wrongPiece } from './fill-part.ts'

/**
 * Checks the pieces that are larger than a part, and the aggregate, by the pieces of all parts.
 *
 * @param parts the piece of each part, in order
 * @returns the piece whose bytes are wrong; `undefined` if there is none
 * @throws Error if the pieces are right but the parts do not make the aggregate: that is a bug
 */
export const checkParts = (
  whole: Whole,
  parts: readonly PieceLink[],
  aggregate: string,
): WrongPiece | undefined => {
  const partBytes = whole.length / parts.length
  let at = 0
  for (const { piece, length } of whole.stretches(0, whole.length)) {
    if (piece) {
      const { size, root } = decodePiece(piece).ok as Piece
      const count = ((size / 128) * 127) / partBytes
      const first = at / partBytes
      if (count > 1) {
        const joined = joinPieces(parts.slice(first, first + count))
        const { root: found } = decodePiece(joined).ok as Piece
        if (!Buffer.from(found).equals(root))
          return wrongPiece(piece, `Its bytes, filled with zeros, have the piece CID ${joined}`)
      }
    }
    at += length
  }
  const joined = `${joinPieces(parts)}`
  if (joined !== aggregate) throw new Error(`The parts of ${aggregate} make ${joined}`)
  return undefined
}
