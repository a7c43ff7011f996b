import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { findObject } from './s3.ts'

interface ObjectOptions {
  client: S3Client
  bucket: string
  key: string
}

interface UploadOptions extends ObjectOptions {
  /** The id that {@link beginUpload} returned. */
  upload: string
}

/** Begins an upload of an object in parts. Returns its id. */
export const beginUpload = async ({
  client,
  bucket,
  key,
  type,
}: ObjectOptions & { type: string }): Promise<string> => {
  const { UploadId } = await client.send(
    new CreateMultipartUploadCommand({ Bucket: bucket, Key: key, ContentType: type }),
  )
  return UploadId as string
}

/**
 * Writes a part of an object, again if it is written already. Returns its tag; `undefined` if the upload does not exist any
 * more.
 *
 * @param part counts from 0
 * @param bytes at least 5 MiB, except in the last part
 */
export const putPart = async ({
  client,
  bucket,
  key,
  upload,
  part,
  bytes,
}: UploadOptions & { part: number; bytes: Uint8Array }): Promise<string | undefined> => {
  try {
    const { ETag } = await client.send(
      new UploadPartCommand({
        Bucket: bucket,
        Key: key,
        UploadId: upload,
        PartNumber: part + 1,
        Body: bytes,
      }),
    )
    return ETag
  } catch (cause) {
    if (isUnknownUpload(cause)) return undefined
    throw cause
  }
}

/**
 * Makes an object of all parts of an upload. Returns whether the object exists with these bytes: also if an earlier call made it. If not,
 * the upload does not exist any more, or a part has another tag: another call wrote it later.
 *
 * @param etags the tags of the parts, in order
 * @param bytes the size of the object
 */
export const completeUpload = async ({
  client,
  bucket,
  key,
  upload,
  etags,
  bytes,
}: UploadOptions & { etags: readonly string[]; bytes: number }): Promise<boolean> => {
  try {
    await client.send(
      new CompleteMultipartUploadCommand({
        Bucket: bucket,
        Key: key,
        UploadId: upload,
        MultipartUpload: { Parts: etags.map((ETag, part) => ({ ETag, PartNumber: part + 1 })) },
      }),
    )
  } catch (cause) {
    if ((cause as Error).name === 'InvalidPart') return false
    if (!isUnknownUpload(cause)) throw cause
  }
  return (await findObject({ client, bucket, key }))?.bytes === bytes
}

/** Removes the parts of an upload that is not needed. */
export const abortUpload = async ({ client, bucket, key, upload }: UploadOptions): Promise<void> => {
  try {
    await client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: upload }))
  } catch (cause) {
    if (!isUnknownUpload(cause)) throw cause
  }
}

/** Removes an object, if it exists. */
export const removeObject = async ({ client, bucket, key }: ObjectOptions): Promise<void> => {
  await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }))
}

/** The SDK has a class of this error for some commands only. */
const isUnknownUpload = (cause: unknown): boolean => (cause as Error).name === 'NoSuchUpload'
