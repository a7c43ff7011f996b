import { randomUUID } from 'node:crypto'
import { createReadStream, type Stats } from 'node:fs'
import { mkdir, rename, rm, stat } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { S3Error } from './s3-error.ts'
import { writeSparseFile } from './sparse-file.ts'

/**
 * Uploads of objects in parts. Each part is a file, so that an upload survives a restart. S3 removes uploads that
 * are never completed by a rule of the bucket; this one keeps them.
 */

/** The directory of the parts, by upload. It is not a valid bucket name. */
export const UPLOADS_DIRECTORY = '.uploads'

/** S3 permits part numbers from 1 to this one. */
const MAX_PARTS = 10_000

/** Bytes of a read while parts are joined. With the 64 KiB of Node, it takes half as much processor time again. */
const READ_BYTES = 2 ** 20

const directoryOf = async (directory: string, upload: string): Promise<string> => {
  const path = join(directory, UPLOADS_DIRECTORY, upload)
  const exists = /^[\w-]{36}$/.test(upload) && (await stat(path).catch(() => undefined))
  if (!exists) throw new S3Error(404, 'NoSuchUpload', 'The specified upload does not exist')
  return path
}

export const beginUpload = async (
  directory: string,
  { bucket, key }: { bucket: string; key: string },
  response: ServerResponse,
): Promise<void> => {
  const upload = randomUUID()
  await mkdir(join(directory, UPLOADS_DIRECTORY, upload), { recursive: true })
  response.writeHead(200, { 'content-type': 'application/xml' })
  response.end(
    `<InitiateMultipartUploadResult><Bucket>${bucket}</Bucket><Key>${encodeURIComponent(key)}</Key>` +
      `<UploadId>${upload}</UploadId></InitiateMultipartUploadResult>`,
  )
}

/** Returns the file of a part. */
export const partFile = async (directory: string, upload: string, part: number): Promise<string> => {
  if (!(Number.isInteger(part) && part >= 1 && part <= MAX_PARTS))
    throw new S3Error(400, 'InvalidArgument', `Part number must be an integer between 1 and ${MAX_PARTS}`)
  return join(await directoryOf(directory, upload), `${part}`)
}

/**
 * Makes an object of the parts that a request lists, if they are there with these tags.
 *
 * @param xml `<CompleteMultipartUpload><Part><ETag>…</ETag><PartNumber>1</PartNumber></Part>…</CompleteMultipartUpload>`
 */
export const completeUpload = async (
  {
    directory,
    upload,
    etagOf,
    incoming,
    file,
  }: {
    directory: string
    upload: string
    etagOf: (stats: Stats) => string
    /** A path for the file in which the parts are joined. */
    incoming: string
    /** The file of the object. */
    file: string
  },
  xml: string,
  response: ServerResponse,
): Promise<void> => {
  const path = await directoryOf(directory, upload)
  const parts = [...xml.matchAll(/<Part>(.*?)<\/Part>/gs)].map(([, part = '']) => ({
    number: Number(/<PartNumber>(\d+)<\/PartNumber>/.exec(part)?.[1]),
    etag: /<ETag>(.*?)<\/ETag>/.exec(part)?.[1]?.replaceAll('&quot;', '"'),
  }))
  if (parts.length === 0 || parts.some(({ number }, n) => n > 0 && number <= parts[n - 1]!.number))
    throw new S3Error(400, 'InvalidPartOrder', 'The list of parts was not in ascending order')
  for (const { number, etag } of parts) {
    const stats = await stat(join(path, `${number}`)).catch(() => undefined)
    // Another request may have completed the upload meanwhile.
    if (stats === undefined) await directoryOf(directory, upload)
    if (stats === undefined || etagOf(stats) !== etag)
      throw new S3Error(400, 'InvalidPart', `The part ${number} could not be found, or has another tag`)
  }
  try {
    async function* readParts() {
      for (const { number } of parts)
        yield* createReadStream(join(path, `${number}`), { highWaterMark: READ_BYTES })
    }
    await writeSparseFile(incoming, readParts())
    await rename(incoming, file)
  } catch (cause) {
    await rm(incoming, { force: true })
    throw cause
  }
  await remove(path, incoming)
  response.writeHead(200, { 'content-type': 'application/xml' })
  response.end('<CompleteMultipartUploadResult></CompleteMultipartUploadResult>')
}

export const abortUpload = async (
  { directory, upload, incoming }: { directory: string; upload: string; incoming: string },
  response: ServerResponse,
): Promise<void> => {
  await remove(await directoryOf(directory, upload), incoming)
  response.writeHead(204).end()
}

/**
 * Removes the parts of an upload at once: requests must not find some of them. If another request removes them at the same time, this
 * one does nothing.
 *
 * @param incoming a path to which the directory is moved
 */
const remove = async (path: string, incoming: string): Promise<void> => {
  await rename(path, incoming).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'ENOENT') throw cause
  })
  await rm(incoming, { recursive: true, force: true })
}
