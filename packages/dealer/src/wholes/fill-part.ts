import type { PieceLink, Result } from '@w3filecoin/capabilities'
import { contentSizeOf, decodePiece, type Piece, pieceOf, pieceOfZeros, type Whole } from '@w3filecoin/piece'
import pMap from 'p-map'
import type { ContentUnreadable } from './read-content.ts'

/** The bytes of a piece are not those that its CID names. */
export interface WrongPiece {
  name: 'WrongPiece'
  message: string
  piece: PieceLink
}

/** Reads bytes of a piece into a buffer. The signal ends it when another one has failed. */
export type ReadPiece = (
  piece: PieceLink,
  from: number,
  into: Uint8Array,
  signal: AbortSignal,
) => Promise<Result<object, ContentUnreadable>>

/** A part of a whole: its first byte in the payload, and the byte behind its last one. */
export interface Part {
  from: number
  to: number
}

/** Whether a part has bytes of pieces, which the storefront must serve. An aggregate that is not full has many parts without. */
export const hasContents = (whole: Whole, { from, to }: Part): boolean => {
  for (const { piece } of whole.stretches(from, to)) if (piece) return true
  return false
}

/** Contents that are read at the same time. */
const MAX_READS = 16

/**
 * Produces the bytes of a part of a whole, and its piece. The bytes of every piece that lies inside of the part must have its
 * CID; those of a larger piece are checked when all parts are there, see `findWrongPiece`.
 */
export const fillPart = async (
  whole: Whole,
  { from, to }: Part,
  read: ReadPiece,
): Promise<Result<{ bytes: Uint8Array; piece: PieceLink }, ContentUnreadable | WrongPiece>> => {
  const bytes = new Uint8Array(to - from)
  const stretches = [...whole.stretches(from, to)]
  // Hashing them would take time.
  if (stretches.every(({ piece, bytes }) => !piece && !bytes))
    return { ok: { bytes, piece: pieceOfZeros(bytes.byteLength) } }
  const contents: { piece: PieceLink; start: number; into: Uint8Array }[] = []
  let at = 0
  for (const stretch of stretches) {
    const into = bytes.subarray(at, at + stretch.length)
    if (stretch.bytes) into.set(stretch.bytes)
    if (stretch.piece) contents.push({ piece: stretch.piece, start: stretch.from, into })
    at += stretch.length
  }
  const stop = new AbortController()
  const findProblem = async ({ piece, start, into }: (typeof contents)[number]) => {
    const isInside = start === 0 && into.byteLength === contentSizeOf(decodePiece(piece).ok as Piece)
    for (let reading = 1; ; reading++) {
      const { error } = await read(piece, start, into, stop.signal)
      if (error) return error
      if (!isInside) return undefined
      const { link } = await pieceOf([into])
      if (`${link}` === `${piece}`) return undefined
      // A proxy may have sent an error page: only bytes that are wrong twice are those of the content.
      if (reading === READINGS) return wrongPiece(piece, `Its bytes have the piece CID ${link}`)
    }
  }
  let first: ContentUnreadable | WrongPiece | undefined
  await pMap(
    contents,
    async content => {
      const problem = first ? undefined : await findProblem(content)
      if (problem === undefined) return
      first ??= problem
      stop.abort()
    },
    { concurrency: MAX_READS },
  )
  if (first) return { error: first }
  return { ok: { bytes, piece: (await pieceOf([bytes])).link } }
}

/** A piece is read this often before it counts as wrong. */
const READINGS = 2

export const wrongPiece = (piece: PieceLink, message: string): WrongPiece => ({
  name: 'WrongPiece',
  message,
  piece,
})
