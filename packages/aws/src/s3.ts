import {
  CopyObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  NoSuchKey,
  NotFound,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import type { Blocks } from '@w3filecoin/runtime'
import type { Link } from 'multiformats'
import { sha256 } from 'multiformats/hashes/sha2'
import { create as createLink } from 'multiformats/link'

/** The lifetime of a presigned URL. */
export const PRESIGNED_URL_SECONDS = 900

interface BucketOptions {
  client: S3Client
  bucket: string
}

/** Immutable blocks in S3, each with its CID as the key, e.g. `bafyrei…`. See `Blocks` for its contract. */
export class S3Blocks implements Blocks {
  readonly #options: () => BucketOptions

  /** @param options called on each use: the environment of a function names only the buckets that it uses */
  constructor(options: () => BucketOptions) {
    this.#options = options
  }

  async put(bytes: Uint8Array, codec: number): Promise<Link> {
    const link = createLink(codec, await sha256.digest(bytes))
    await putObject({
      ...this.#options(),
      key: `${link}`,
      bytes,
      type: 'application/vnd.ipld.raw',
    })
    return link
  }

  async get(link: Link): Promise<Uint8Array | undefined> {
    const body = await this.#body(link)
    if (body === undefined) return undefined
    const bytes = await body.transformToByteArray()
    const { digest } = await sha256.digest(bytes)
    if (!Buffer.from(digest).equals(link.multihash.digest))
      throw new Error(`The block ${link} is damaged: its bytes do not hash to its CID`)
    return bytes
  }

  locate(link: Link, type: string): Promise<string> {
    return presignObject({ ...this.#options(), key: `${link}`, type })
  }

  #body(link: Link) {
    return getObject({ ...this.#options(), key: `${link}` })
  }
}

/** Writes an object. Resolves when S3 has stored it durably. */
export const putObject = async ({
  client,
  bucket,
  key,
  bytes,
  type,
}: BucketOptions & { key: string; bytes: Uint8Array; type: string }): Promise<void> => {
  await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: bytes, ContentType: type }))
}

/** Writes a value as an object of JSON. Resolves when S3 has stored it durably. */
export const putJson = ({
  value,
  ...object
}: BucketOptions & { key: string; value: object }): Promise<void> =>
  putObject({ ...object, bytes: Buffer.from(JSON.stringify(value)), type: 'application/json' })

/** Returns a URL from which anybody may read the object for 15 minutes, by GET, also in ranges. */
export const presignObject = ({
  client,
  bucket,
  key,
  type,
}: BucketOptions & { key: string; type: string }): Promise<string> =>
  getSignedUrl(client, new GetObjectCommand({ Bucket: bucket, Key: key, ResponseContentType: type }), {
    expiresIn: PRESIGNED_URL_SECONDS,
  })

/**
 * Returns a URL for a `PUT` of exactly these bytes within 15 minutes, with the headers that the request must have. The signature
 * covers both: S3 refuses other headers at once, and another body when it has arrived.
 *
 * @param sha256 the hash of the bytes
 * @param bytes their number, at most 5 GiB
 * @example { url: 'https://…&X-Amz-Signature=…', headers: { 'x-amz-checksum-sha256': 'ungWv48B…', 'content-length': '3' } }
 */
export const presignUpload = async ({
  client,
  bucket,
  key,
  sha256,
  bytes,
}: BucketOptions & { key: string; sha256: Uint8Array; bytes: number }): Promise<{
  url: string
  headers: Record<string, string>
}> => {
  const checksum = Buffer.from(sha256).toString('base64')
  const command = new PutObjectCommand({
    Bucket: bucket,
    Key: key,
    ContentLength: bytes,
    ChecksumSHA256: checksum,
  })
  const url = await getSignedUrl(client, command, {
    expiresIn: PRESIGNED_URL_SECONDS,
    // S3 compares the body with the header only, not with a parameter of the URL.
    unhoistableHeaders: new Set(['x-amz-checksum-sha256']),
  })
  return { url, headers: { 'x-amz-checksum-sha256': checksum, 'content-length': `${bytes}` } }
}

/** Returns size and time of an object, or `undefined` if it does not exist. The time is in milliseconds since 1970. */
export const findObject = async ({
  client,
  bucket,
  key,
}: BucketOptions & { key: string }): Promise<{ bytes: number; storedAt: number } | undefined> => {
  try {
    const { ContentLength, LastModified } = await client.send(
      new HeadObjectCommand({ Bucket: bucket, Key: key }),
    )
    return { bytes: ContentLength ?? 0, storedAt: LastModified?.getTime() ?? 0 }
  } catch (cause) {
    if (cause instanceof NotFound) return undefined
    throw cause
  }
}

/** Copies an object of at most 5 GiB to another bucket, under the same key. Throws `NoSuchKey` if it does not exist. */
export const copyObject = async ({
  client,
  bucket,
  key,
  from,
}: BucketOptions & { key: string; from: string }): Promise<void> => {
  await client.send(
    new CopyObjectCommand({ Bucket: bucket, Key: key, CopySource: `${from}/${encodeURIComponent(key)}` }),
  )
}

/** Returns the body of an object as a stream, or `undefined` if the object does not exist. */
export const getObject = async ({
  client,
  bucket,
  key,
  signal,
}: BucketOptions & { key: string; signal?: AbortSignal }) => {
  try {
    const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }), {
      ...(signal && { abortSignal: signal }),
    })
    return Body
  } catch (cause) {
    if (cause instanceof NoSuchKey) return undefined
    throw cause
  }
}
