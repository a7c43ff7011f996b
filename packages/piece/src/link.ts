import type { LegacyPieceLink, PieceLink } from '@web3-storage/data-segment'
import { varint } from 'multiformats'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { QUAD_PAYLOAD_SIZE } from './fr32.ts'
import { NODE_SIZE } from './merkle.ts'
import type { Result } from './result.ts'

export type { LegacyPieceLink, PieceLink }

/** The parts of a link that this package reads. Links of every release of multiformats have them. */
export interface AnyLink {
  /** The multicodec, e.g. `0x55` of raw. */
  readonly code: number
  /** The hash function by its code, and its digest. */
  readonly multihash: { readonly code: number; readonly digest: Uint8Array }
  /** Returns the CID as text, e.g. `bafkzci…`. */
  toString(): string
}

const RAW = 0x55
const FR32_SHA2_256_TRUNC254_PADDED_BINARY_TREE = 0x1011
/** The codec of a piece CID v1. */
export const FIL_COMMITMENT_UNSEALED = 0xf101
const SHA2_256_TRUNC254_PADDED = 0x1012

/** Height of the smallest piece, four nodes: 128 padded bytes, or 127 of payload. */
export const MIN_HEIGHT = 2

/**
 * Height of the largest piece that this package supports: 2^53 padded bytes. Sizes and offsets of larger pieces
 * are not exact as JavaScript numbers. Filecoin's largest sector has 2^36 bytes.
 */
export const MAX_HEIGHT = 48

const LOG2_NODE_SIZE = 5

/** Bytes of a link's digest after the padding. */
const HEIGHT_AND_ROOT_SIZE = 1 + NODE_SIZE

/** The contents of a piece link. */
export interface Piece {
  link: PieceLink
  /** Root of the piece's tree, 32 bytes. Do not write to it: it is part of the link. */
  root: Uint8Array
  /** Height of the tree: 2 for 128 padded bytes, 30 for 32 GiB. */
  height: number
  /** Zero bytes appended to the payload to fill the piece, counted before Fr32 padding. */
  padding: bigint
  /** Bytes of the piece after Fr32 padding, 2^(height + 5). The piece occupies them in a deal or an aggregate. */
  size: number
}

/** The link is not a piece link, or its values are impossible. */
export interface InvalidPieceCID {
  name: 'InvalidPieceCID'
  message: string
  /** The invalid link. Missing if a text could not be parsed as a link. */
  piece?: AnyLink
}

/** Padded bytes of a piece of the given height. */
export const sizeOf = (height: number): number => 2 ** (height + LOG2_NODE_SIZE)

/** Payload bytes that fit into a piece of the given height. */
export const payloadSizeOf = (height: number): number => QUAD_PAYLOAD_SIZE * 2 ** (height - MIN_HEIGHT)

/** Bytes of the content of a piece: its payload without the zeros that fill it. */
export const contentSizeOf = ({ height, padding }: Pick<Piece, 'height' | 'padding'>): number =>
  payloadSizeOf(height) - Number(padding)

/**
 * Decodes a piece link ("piece CID v2"): CIDv1, raw codec, multihash 0x1011 whose digest is `uvarint padding |
 * uint8 height | 32 bytes root`.
 *
 * It also rejects impossible values:
 * - a root of more than 254 bits: in the index of an aggregate it would be bytes that Fr32 padding cannot yield;
 * - a height outside 2 to 48;
 * - padding that leaves no payload, except in the smallest piece: the piece of empty content is all padding.
 *
 * @example decodePiece(CID.parse('bafkzcibcaabdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmy')).ok
 * // the piece of 127 zero bytes: { link, root, height: 2, padding: 0n, size: 128 }
 * @see https://github.com/filecoin-project/FIPs/blob/master/FRCs/frc-0069.md
 */
export const decodePiece = (link: AnyLink): Result<Piece, InvalidPieceCID> => {
  const error = faultOf(link)
  if (error) return { error }
  const { digest } = link.multihash
  const height = heightOf(link)
  return {
    ok: {
      link: link as PieceLink,
      root: digest.subarray(digest.length - NODE_SIZE),
      height,
      padding: BigInt(paddingOf(digest)),
      size: sizeOf(height),
    },
  }
}

/**
 * The reason why {@link decodePiece} rejects the link, or `undefined` if it accepts it. Neither this function nor
 * {@link heightOf} allocates memory for a valid link, because callers check hundreds of thousands of links.
 */
export const faultOf = (link: AnyLink): InvalidPieceCID | undefined => {
  if (link.code !== RAW) return invalid(link, 'expected the raw codec')
  const { code, digest } = link.multihash
  if (code !== FR32_SHA2_256_TRUNC254_PADDED_BINARY_TREE) {
    return invalid(link, `expected multihash 0x1011, not 0x${code.toString(16)}`)
  }

  // The digest does not state the padding's length, but the height and root after it have a fixed length. Eight
  // bytes hold 56 bits, more than the padding of the largest piece needs.
  const paddingLength = digest.length - HEIGHT_AND_ROOT_SIZE
  if (paddingLength < 1 || paddingLength > 8) {
    return invalid(link, `expected a digest of 34 to 41 bytes, not ${digest.length}`)
  }
  for (let i = 0; i < paddingLength - 1; i++) {
    if (digest[i]! < 0x80)
      return invalid(link, 'expected the height and a root of 32 bytes behind the padding')
  }
  const last = digest[paddingLength - 1]!
  // Reject a last byte of zero: the padding has a shorter form, and a piece must not have two links.
  if (last >= 0x80 || (last === 0 && paddingLength > 1)) {
    return invalid(link, 'the padding is not a varint in its shortest form')
  }

  const height = heightOf(link)
  if (height < MIN_HEIGHT || height > MAX_HEIGHT) {
    return invalid(link, `expected a height from ${MIN_HEIGHT} to ${MAX_HEIGHT}, not ${height}`)
  }

  const padding = paddingOf(digest)
  const room = payloadSizeOf(height)
  if (padding > room || (padding === room && height > MIN_HEIGHT)) {
    return invalid(link, `padding of ${padding} bytes leaves no payload in a piece for ${room} bytes`)
  }

  if (digest[digest.length - 1]! > 0b0011_1111) return invalid(link, 'the root is of more than 254 bits')
  return undefined
}

/** Height of the piece. The link must be valid. */
export const heightOf = ({ multihash: { digest } }: AnyLink): number =>
  digest[digest.length - HEIGHT_AND_ROOT_SIZE]!

const paddingOf = (digest: Uint8Array): number => {
  let padding = 0
  for (let i = digest.length - HEIGHT_AND_ROOT_SIZE - 1; i >= 0; i--) {
    padding = padding * 0x80 + (digest[i]! & 0x7f)
  }
  return padding
}

const invalid = (piece: AnyLink, message: string): InvalidPieceCID => ({
  name: 'InvalidPieceCID',
  message: `Not a piece link: ${message}`,
  piece,
})

/**
 * Parses and decodes a piece link.
 *
 * @example parsePiece('bafkzcibcaabdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmy').ok?.height // 2
 */
export const parsePiece = (text: string): Result<Piece, InvalidPieceCID> => {
  let link: AnyLink
  try {
    link = CID.parse(text)
  } catch (cause) {
    return {
      error: { name: 'InvalidPieceCID', message: `Not a piece link: ${(cause as Error).message}` },
    }
  }
  return decodePiece(link)
}

/**
 * Encodes a piece as its link. It does not validate the values: its callers computed the root.
 *
 * @example encodePiece({ root, height: 30, padding: 0n }) // a piece of 32 GiB: bafkzcibcaap…
 */
export const encodePiece = (piece: { root: Uint8Array; height: number; padding: bigint }): PieceLink => {
  const padding = Number(piece.padding)
  const paddingLength = varint.encodingLength(padding)
  const digest = new Uint8Array(paddingLength + 1 + NODE_SIZE)
  varint.encodeTo(padding, digest)
  digest[paddingLength] = piece.height
  digest.set(piece.root, paddingLength + 1)
  return CID.createV1(RAW, Digest.create(FR32_SHA2_256_TRUNC254_PADDED_BINARY_TREE, digest))
}

/** A piece as the chain names it: a commitment and, separately, the size. The chain does not record the padding. */
export interface PieceV1 {
  /** CIDv1, codec fil-commitment-unsealed 0xf101, multihash sha2-256-trunc254-padded 0x1012 ("piece CID v1"). */
  root: LegacyPieceLink
  /** Binary logarithm of the size in padded bytes: 35 for 32 GiB. */
  log2Size: number
}

/**
 * Converts a piece link to the chain's name of the piece.
 *
 * @example toV1(CID.parse('bafkzcibcaapao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq')).ok
 * // { root: CID(baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq), log2Size: 35 }
 */
export const toV1 = (link: AnyLink): Result<PieceV1, InvalidPieceCID> => {
  const { ok: piece, error } = decodePiece(link)
  if (error) return { error }
  return {
    ok: {
      root: CID.createV1(FIL_COMMITMENT_UNSEALED, Digest.create(SHA2_256_TRUNC254_PADDED, piece.root)),
      log2Size: piece.height + LOG2_NODE_SIZE,
    },
  }
}

/**
 * Converts the chain's name of a piece to a piece link without padding. Use it for aggregates, which have no
 * padding: for content whose piece has padding, the result is not the content's piece link.
 *
 * @example fromV1(CID.parse('baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq'), 35).ok
 * // CID(bafkzcibcaapao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq)
 */
export const fromV1 = (root: AnyLink, log2Size: number): Result<PieceLink, InvalidPieceCID> => {
  const { code, digest } = root.multihash
  if (
    root.code !== FIL_COMMITMENT_UNSEALED ||
    code !== SHA2_256_TRUNC254_PADDED ||
    digest.length !== NODE_SIZE
  ) {
    return {
      error: {
        name: 'InvalidPieceCID',
        message: 'Not a piece CID v1: expected codec 0xf101, multihash 0x1012 and a digest of 32 bytes',
        piece: root,
      },
    }
  }
  const height = log2Size - LOG2_NODE_SIZE
  if (!(Number.isInteger(height) && height >= MIN_HEIGHT && height <= MAX_HEIGHT)) {
    return {
      error: { name: 'InvalidPieceCID', message: `No piece has 2^${log2Size} padded bytes`, piece: root },
    }
  }
  const { ok: piece, error } = decodePiece(encodePiece({ root: digest, height, padding: 0n }))
  return piece ? { ok: piece.link } : { error: { ...error, piece: root } }
}
