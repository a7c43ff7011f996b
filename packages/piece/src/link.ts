import type { LegacyPieceLink, PieceLink } from '@web3-storage/data-segment'
import { varint } from 'multiformats'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { QUAD_PAYLOAD_SIZE } from './fr32.ts'
import { copyNode, NODE_SIZE } from './merkle.ts'
import type { Result } from './result.ts'

export type { LegacyPieceLink, PieceLink }

/** A link to anything, made by any release of multiformats: what is read of it, and no more. */
export interface AnyLink {
  readonly code: number
  readonly multihash: { readonly code: number; readonly digest: Uint8Array }
  toString(): string
}

const RAW = 0x55
const FR32_SHA2_256_TRUNC254_PADDED_BINARY_TREE = 0x1011
const FIL_COMMITMENT_UNSEALED = 0xf101
const SHA2_256_TRUNC254_PADDED = 0x1012

/** Height of the smallest piece, four nodes: 128 padded bytes, or 127 of payload. */
export const MIN_HEIGHT = 2

/**
 * Height of the greatest piece that is handled here, of 2^53 padded bytes: the last one whose sizes and offsets
 * JavaScript numbers hold exactly. Filecoin's greatest sector is of 2^36.
 */
export const MAX_HEIGHT = 48

const LOG2_NODE_SIZE = 5

/** Bytes of a link's digest behind the padding. */
const HEIGHT_AND_ROOT_SIZE = 1 + NODE_SIZE

/** What a piece link says. */
export interface Piece {
  link: PieceLink
  /** Root of the piece's tree, 32 bytes, not to be written to. */
  root: Uint8Array
  /** Height of the tree: 2 for 128 padded bytes, 30 for 32 GiB. */
  height: number
  /** Zero bytes put behind the payload to fill the piece, counted before Fr32 padding. */
  padding: bigint
  /** Bytes of the piece after Fr32 padding, 2^(height + 5): what it takes of a deal or an aggregate. */
  size: number
}

/** The link names no piece. */
export interface InvalidPieceCID {
  name: 'InvalidPieceCID'
  message: string
  /** The link at fault; none if a text could not even be read as a link. */
  piece?: AnyLink
}

/** Padded bytes of a piece of the given height. */
export const sizeOf = (height: number): number => 2 ** (height + LOG2_NODE_SIZE)

/** Payload bytes that a piece of the given height has room for. */
export const payloadSizeOf = (height: number): number => QUAD_PAYLOAD_SIZE * 2 ** (height - MIN_HEIGHT)

/**
 * Reads a piece link: CIDv1, raw codec, multihash 0x1011 whose digest is `uvarint padding | uint8 height |
 * 32 bytes root` ("piece CID v2").
 *
 * Beyond its form, the values must be possible: a root of 254 bits (one with more, put into the index of an
 * aggregate, would make bytes that no Fr32 padding yields), a height from 2 to 48, and padding that leaves
 * payload. Only the smallest piece may be all padding: that is what empty content gives.
 *
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
 * Why {@link decodePiece} would not take the link, if it would not. It and {@link heightOf} allocate nothing for
 * a good link, which counts where hundreds of thousands are looked at.
 */
export const faultOf = (link: AnyLink): InvalidPieceCID | undefined => {
  if (link.code !== RAW) return invalid(link, 'expected the raw codec')
  const { code, digest } = link.multihash
  if (code !== FR32_SHA2_256_TRUNC254_PADDED_BINARY_TREE) {
    return invalid(link, `expected multihash 0x1011, not 0x${code.toString(16)}`)
  }

  // The padding's length is not given, but that of all that follows it is fixed. Eight bytes hold 56 bits, more
  // than the greatest piece can need.
  const paddingLength = digest.length - HEIGHT_AND_ROOT_SIZE
  if (paddingLength < 1 || paddingLength > 8) {
    return invalid(link, `expected a digest of 34 to 41 bytes, not ${digest.length}`)
  }
  for (let i = 0; i < paddingLength - 1; i++) {
    if (digest[i]! < 0x80)
      return invalid(link, 'expected the height and a root of 32 bytes behind the padding')
  }
  const last = digest[paddingLength - 1]!
  // A last byte of zero adds nothing: there is a shorter form, and one piece must not have two links.
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

/** Height of the piece that a link names, which must be a good one. */
export const heightOf = ({ multihash: { digest } }: AnyLink): number =>
  digest[digest.length - HEIGHT_AND_ROOT_SIZE]!

/** Copies the root of the piece that a link names, which must be a good one, to `target`. */
export const copyRoot = ({ multihash: { digest } }: AnyLink, target: Uint8Array, to: number): void =>
  copyNode(digest, digest.length - NODE_SIZE, target, to)

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

/** {@link decodePiece} of a link written as text. */
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

/** The link of a piece. What {@link decodePiece} would not take is not checked: its callers computed the root. */
export const encodePiece = (piece: { root: Uint8Array; height: number; padding: bigint }): PieceLink => {
  const padding = Number(piece.padding)
  const paddingLength = varint.encodingLength(padding)
  const digest = new Uint8Array(paddingLength + 1 + NODE_SIZE)
  varint.encodeTo(padding, digest)
  digest[paddingLength] = piece.height
  digest.set(piece.root, paddingLength + 1)
  return CID.createV1(RAW, Digest.create(FR32_SHA2_256_TRUNC254_PADDED_BINARY_TREE, digest))
}

/** A piece as the chain names it: a commitment, and beside it the size, without the padding. */
export interface PieceV1 {
  /** CIDv1, codec fil-commitment-unsealed 0xf101, multihash sha2-256-trunc254-padded 0x1012 ("piece CID v1"). */
  root: LegacyPieceLink
  /** Binary logarithm of the size in padded bytes: 35 for 32 GiB. */
  log2Size: number
}

/** The chain's name of a piece. */
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
 * The link of a piece that the chain names. The chain knows no padding: to it, all of a piece is payload. So
 * this is the link of an aggregate, which has none, but not that of content whose piece has some.
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
