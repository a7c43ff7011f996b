import { randomUUID } from 'node:crypto'
import { createReadStream, readdirSync, renameSync, rmSync } from 'node:fs'
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { S3Error } from './s3-error.ts'
import { writeSparseFile } from './sparse-file.ts'

/**
 * Uploads of objects in parts. Each part is a file, so that an upload survives a restart. Its tag is the hash of its bytes: as in S3, a
 * repeated request gets the same tag. S3 removes uploads that are never completed by a rule of the bucket; this one keeps them.
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

/** Throws an `S3Error` if an upload has no such part. */
export const checkPart = async (directory: string, upload: string, part: number): Promise<void> => {
  if (!(Number.isInteger(part) && part >= 1 && part <= MAX_PARTS))
    throw new S3Error(400, 'InvalidArgument', `Part number must be an integer between 1 and ${MAX_PARTS}`)
  await directoryOf(directory, upload)
}

/**
 * Moves a file to the parts of an upload, in place of an earlier version of the part. Returns its tag.
 *
 * @param options.sha256 the hash of its bytes, in hexadecimal digits
 */
export const storePart = async (
  directory: string,
  { upload, part, incoming, sha256 }: { upload: string; part: number; incoming: string; sha256: string },
): Promise<string> => {
  const path = await directoryOf(directory, upload)
  const name = partName(part, sha256)
  // Without a pause: of two requests at the same time, the later one must not remove the file of the earlier one, and be removed by it.
  renameSync(incoming, join(path, name))
  for (const other of readdirSync(path))
    if (other.startsWith(partName(part, '')) && other !== name) rmSync(join(path, other))
  return `"${sha256}"`
}

/** @example partName(7, '9f86d081…') // '7-9f86d081…' */
const partName = (part: number, sha256: string): string => `${part}-${sha256}`

/** Uploads whose parts are being joined, by their directories: a repeated request waits for the first one. */
const joining = new Map<string, Promise<void>>()

/**
 * Makes an object of the parts that a request lists, if they are there with these tags.
 *
 * @param xml `<CompleteMultipartUpload><Part><ETag>…</ETag><PartNumber>1</PartNumber></Part>…</CompleteMultipartUpload>`
 */
export const completeUpload = async (
  {
    directory,
    upload,
    incoming,
    file,
  }: {
    directory: string
    upload: string
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
    sha256: /<ETag>(?:&quot;|")?(.*?)(?:&quot;|")?<\/ETag>/.exec(part)?.[1] ?? '',
  }))
  if (parts.length === 0 || parts.some(({ number }, n) => n > 0 && number <= parts[n - 1]!.number))
    throw new S3Error(400, 'InvalidPartOrder', 'The list of parts was not in ascending order')
  const stored = new Set(await readdir(path))
  const missing = parts.find(({ number, sha256 }) => !stored.has(partName(number, sha256)))
  if (missing)
    throw new S3Error(400, 'InvalidPart', `The part ${missing.number} could not be found, or has another tag`)
  const files = parts.map(({ number, sha256 }) => join(path, partName(number, sha256)))
  const joined =
    joining.get(path) ?? joinParts(files, { path, incoming, file }).finally(() => joining.delete(path))
  joining.set(path, joined)
  await joined
  response.writeHead(200, { 'content-type': 'application/xml' })
  response.end('<CompleteMultipartUploadResult></CompleteMultipartUploadResult>')
}

/** Makes an object of the parts of an upload, and removes the upload. */
const joinParts = async (
  files: readonly string[],
  { path, incoming, file }: { path: string; incoming: string; file: string },
): Promise<void> => {
  async function* readParts() {
    for (const part of files) yield* createReadStream(part, { highWaterMark: READ_BYTES })
  }
  try {
    await writeSparseFile(incoming, readParts())
    await rename(incoming, file)
  } catch (cause) {
    await rm(incoming, { force: true })
    throw cause
  }
  await remove(path, incoming)
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
