import { createHash, hash } from 'node:crypto'
import type { PieceLink } from '@w3filecoin/capabilities'
import { encodePiece, pieceOf as hashPiece } from '@w3filecoin/piece'
import type { Link, UnknownLink } from 'multiformats'
import { create as createDigest } from 'multiformats/hashes/digest'
import { create as createLink } from 'multiformats/link'

/** Returns bytes that look random and are the same in every run. */
export const bytesOf = (seed: string | number, length: number): Uint8Array =>
  new Uint8Array(createHash('shake256', { outputLength: length }).update(`${seed}`).digest())

/** Returns the CID of bytes: sha2-256, codec raw by default. */
export const linkOf = (bytes: Uint8Array, codec = 0x55): Link =>
  createLink(codec, createDigest(0x12, hash('sha256', bytes, 'buffer')))

/** Returns the link of a piece of 2^height × 32 padded bytes. Its content does not exist. */
export const somePiece = (seed: string | number, height = 2): PieceLink => {
  const root = bytesOf(`${height} ${seed}`, 32)
  root[31]! &= 0b0011_1111
  return encodePiece({ root, height, padding: 0n })
}

export interface Content {
  bytes: Uint8Array
  content: UnknownLink
  piece: PieceLink
}

/** Returns content with its CID and its piece. */
export const someContent = async (seed: string | number, length = 1000): Promise<Content> => {
  const bytes = bytesOf(seed, length)
  const { link } = await hashPiece([bytes])
  return { bytes, content: linkOf(bytes), piece: link }
}
