import type { Failure } from '@ucanto/interface'
import { capability, fail, Schema } from '@ucanto/validator'
import { covers, type UnknownLink } from './schema.ts'

/**
 * The abilities with which published upload clients bring content to a storefront, in their published form:
 * https://github.com/storacha/specs/blob/main/w3-blob.md
 */

const blob = Schema.struct({
  /** Multihash of the bytes: code, length, and digest. */
  digest: Schema.bytes(),
  /** Number of bytes. */
  size: Schema.integer(),
})

/** @example { digest: Uint8Array [0x12, 0x20, …], size: 1234567 } */
export interface Blob {
  digest: Uint8Array
  size: number
}

interface BlobClaim {
  with: string
  nb: { blob?: Blob }
}

/** A delegation that names a blob covers this digest only, up to this size. */
const coversBlob = (claim: BlobClaim, delegated: BlobClaim): { ok: object } | { error: Failure } => {
  if (claim.with !== delegated.with)
    return fail(`it is for the resource ${delegated.with}, not for ${claim.with}`)
  const [claimed, allowed] = [claim.nb.blob, delegated.nb.blob]
  if (claimed === undefined || allowed === undefined) return { ok: {} }
  if (!isEqual(claimed.digest, allowed.digest)) return fail('it allows only a blob with another digest')
  return claimed.size > allowed.size
    ? fail(`it allows a blob of at most ${allowed.size} bytes, and the invocation has ${claimed.size}`)
    : { ok: {} }
}

const isEqual = (a: Uint8Array, b: Uint8Array): boolean =>
  a.byteLength === b.byteLength && a.every((byte, n) => byte === b[n])

/** An agent asks a storefront for an address to which it can send a blob. */
export const spaceBlobAdd = capability({
  can: 'space/blob/add',
  /** The space that the blob is for. */
  with: Schema.did(),
  nb: Schema.struct({ blob }),
  derives: coversBlob as never,
})

/** An agent names the index of an uploaded DAG. The storefront does not publish it, and says so in `meta`. */
export const spaceIndexAdd = capability({
  can: 'space/index/add',
  /** The space that has the DAG. */
  with: Schema.did(),
  nb: Schema.struct({
    /** CID of the CAR that contains the index. */
    index: Schema.link({ version: 1 }),
    /** Root of the DAG. */
    content: Schema.link().optional(),
  }),
  derives: covers,
})

/** An agent names the root of an uploaded DAG. The storefront keeps no list of them, and says so in `meta`. */
export const uploadAdd = capability({
  can: 'upload/add',
  /** The space that has the DAG. */
  with: Schema.did(),
  nb: Schema.struct({
    /** Root of the DAG. */
    root: Schema.link(),
    /** CIDs of the CARs that contain its blocks. */
    shards: Schema.link({ version: 1 }).array().optional(),
  }),
  derives: covers,
})

/** The result of `space/blob/add`: where the result of `blob/accept` names the location of the blob. */
export interface SpaceBlobAddSuccess {
  site: { 'ucan/await': readonly ['.out.ok.site', UnknownLink] }
}

/** The result of `blob/allocate`. Its receipt is part of the receipt of `space/blob/add`. */
export interface BlobAllocateSuccess {
  /** Number of bytes that were allocated: 0 if the storefront has the blob. */
  size: number
  /** Absent if the storefront has the blob. */
  address?: {
    /** URL for a `PUT` of exactly the bytes of the blob. */
    url: string
    /** The headers that the request must have. */
    headers: Record<string, string>
    /** Time from which the URL is refused, in seconds since 1970. */
    expires: number
  }
}

/** The result of `blob/accept`. */
export interface BlobAcceptSuccess {
  /** CID of the `assert/location` in which the storefront names the location. Its blocks are part of the receipt. */
  site: UnknownLink
}

/** The result of `space/index/add`. */
export type SpaceIndexAddSuccess = Record<never, never>

/** `meta` of the receipt of a `space/index/add`. */
export interface SpaceIndexAddMeta {
  index: 'not published'
}

/** The result of `upload/add`. */
export interface UploadAddSuccess {
  root: UnknownLink
  shards?: UnknownLink[]
}

/** `meta` of the receipt of an `upload/add`. */
export interface UploadAddMeta {
  upload: 'not listed'
}
