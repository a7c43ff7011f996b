import { type Blob, type Failure, failure, type Result } from '@w3filecoin/capabilities'
import * as Digest from 'multiformats/hashes/digest'
import { create as createLink } from 'multiformats/link'
import { resources } from '../resources.ts'

/**
 * An upload that an agent got an address for. It is written before the agent gets the address.
 *
 * @example { task: 'bafyrei…', content: 'bafkrei…', bytes: 70000, acceptTask: <bytes>, expiresAt: 1801958400 }
 */
export interface UploadRecord {
  /** CID of the promised `http/put`. */
  task: string
  /** CID of the content. */
  content: string
  bytes: number
  /** The promised `blob/accept`, packed. */
  acceptTask: Uint8Array
  /** Time from which the record counts as absent, in seconds since 1970. The table deletes it within days. */
  expiresAt: number
}

const RAW = 0x55
const SHA2_256 = 0x12
const DIGEST_BYTES = 32

/** The content that a blob is. */
export interface UploadedContent {
  /** CID of the bytes as one raw block. Published clients offer the blob under it. */
  content: string
  sha256: Uint8Array
  bytes: number
}

/**
 * Returns the content that a blob is.
 *
 * Fails with `UnsupportedHash`, because S3 can compare an upload with its SHA-256 hash only, or with
 * `BlobSizeOutsideOfSupportedRange`.
 */
export const contentOf = ({ digest, size }: Blob, maxBytes: number): Result<UploadedContent> => {
  const multihash = decode(digest)
  if (multihash?.code !== SHA2_256 || multihash.digest.byteLength !== DIGEST_BYTES)
    return { error: failure('UnsupportedHash', 'The digest of the blob must be a multihash of SHA-256') }
  if (size < 0 || size > maxBytes) return { error: sizeFailure(size, maxBytes) }
  return { ok: { content: `${createLink(RAW, multihash)}`, sha256: multihash.digest, bytes: size } }
}

const sizeFailure = (size: number, maxBytes: number): Failure =>
  failure(
    'BlobSizeOutsideOfSupportedRange',
    `The blob has ${size} bytes. This storefront gives addresses for at most ${maxBytes} bytes; store larger content where it reads content.`,
  )

const decode = (digest: Uint8Array) => {
  try {
    return Digest.decode(digest)
  } catch {
    return undefined
  }
}

/** Whether a record still counts. */
export const isLive = (record: UploadRecord | undefined, now: number): record is UploadRecord =>
  record !== undefined && now < record.expiresAt * 1000

/** Lifetime of a record: that of the uploaded object. */
const LIFETIME_MS = resources.buckets.uploads.keepDays * 24 * 60 * 60 * 1000

/** Returns the time from which a record written now counts as absent, in seconds since 1970. */
export const uploadExpiry = (now: number): number => Math.ceil((now + LIFETIME_MS) / 1000)
