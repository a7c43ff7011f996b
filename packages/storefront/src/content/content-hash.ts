import { createHash } from 'node:crypto'
import type { MultihashDigest } from 'multiformats'
import { parse as parseLink } from 'multiformats/link'

const RAW = 0x55
const CAR = 0x0202
const IDENTITY = 0x00
const DOUBLE_SHA2_256 = 0x56

/**
 * The hashes that `node:crypto` computes, by their multihash code in
 * https://github.com/multiformats/multicodec/blob/master/table.csv. Of BLAKE2, OpenSSL computes the full lengths only.
 */
const HASHES = new Map([
  [0x11, 'sha1'],
  [0x12, 'sha256'],
  [0x13, 'sha512'],
  [0x14, 'sha3-512'],
  [0x15, 'sha3-384'],
  [0x16, 'sha3-256'],
  [0x17, 'sha3-224'],
  [0x20, 'sha384'],
  [0xd5, 'md5'],
  [0x1013, 'sha224'],
  [0x1014, 'sha512-224'],
  [0x1015, 'sha512-256'],
  [0x1053, 'ripemd160'],
  [0x534d, 'sm3'],
  [0xb240, 'blake2b512'],
  [0xb260, 'blake2s256'],
])

/** Hashes with an output of any length: the CID has as much of it as its author chose. */
const EXTENDABLE = new Map([
  [0x18, 'shake128'],
  [0x19, 'shake256'],
])

/** Shortest digest that counts, in bytes. A multihash may have the beginning of a digest only. */
const MIN_DIGEST_BYTES = 16

/** The hash that the bytes of a content must have. */
export interface ContentHash {
  update(chunk: Uint8Array): unknown
  /** Returns whether the chunks were the content. May be called once. */
  matches(): boolean
}

/**
 * Returns the hash in the CID of a content, to compare the bytes with; `undefined` if the CID does not determine the bytes, or
 * if `node:crypto` does not compute its hash. The CID of a raw block or of a whole CAR determines the bytes. Any other CID
 * names the root of a DAG, and is not the hash of the bytes that a source returns.
 */
export const contentHash = (content: string): ContentHash | undefined => {
  const multihash = hashOfBytes(content)
  if (multihash === undefined) return undefined
  const { code, digest } = multihash
  if (code === IDENTITY) return compare(createHash('sha256'), sha256(digest))
  if (digest.byteLength < MIN_DIGEST_BYTES) return undefined
  const extendable = EXTENDABLE.get(code)
  if (extendable) return compare(createHash(extendable, { outputLength: digest.byteLength }), digest)
  if (code === DOUBLE_SHA2_256) return compare(createHash('sha256'), digest, sha256)
  const name = HASHES.get(code)
  return name === undefined ? undefined : compare(createHash(name), digest)
}

/** Returns the bytes of a content whose CID contains them: an identity CID of a raw block or of a whole CAR. */
export const bytesInCid = (content: string): Uint8Array | undefined => {
  const multihash = hashOfBytes(content)
  return multihash?.code === IDENTITY ? multihash.digest : undefined
}

const hashOfBytes = (content: string): MultihashDigest | undefined => {
  const { code, multihash } = parseLink(content)
  return code === RAW || code === CAR ? multihash : undefined
}

const compare = (
  hash: ReturnType<typeof createHash>,
  expected: Uint8Array,
  finish = (digest: Buffer): Buffer => digest,
): ContentHash => ({
  update: chunk => hash.update(chunk),
  // A digest in the CID that is longer than the hash matches no bytes.
  matches: () => finish(hash.digest()).subarray(0, expected.byteLength).equals(expected),
})

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest()
