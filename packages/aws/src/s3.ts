import {
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
const PRESIGNED_URL_SECONDS = 900

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

/** Whether an object exists. */
export const hasObject = async ({
  client,
  bucket,
  key,
}: BucketOptions & { key: string }): Promise<boolean> => {
  try {
    await client.send(new HeadObjectCommand({ Bucket: bucket, Key: key }))
    return true
  } catch (cause) {
    if (cause instanceof NotFound) return false
    throw cause
  }
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
