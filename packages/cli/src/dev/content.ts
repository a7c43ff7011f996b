import { createHash, type Hash } from 'node:crypto'
import { open, opendir, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { Readable } from 'node:stream'
import { HeadObjectCommand, NotFound, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import { type PieceLink, pieceOf } from '@w3filecoin/piece'
import { UserError } from '@w3filecoin/service/user-error'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'

/** A file that is content to be stored. */
export interface ContentFile {
  path: string
  /** Within the directory that was given. */
  name: string
  size: number
}

/** Every regular file of a directory and of those in it, by name; hidden ones are left out. */
export const findFiles = async (directory: string): Promise<ContentFile[]> => {
  const files: ContentFile[] = []
  const walk = async (path: string): Promise<void> => {
    for await (const entry of await opendir(path)) {
      const found = join(path, entry.name)
      if (entry.name.startsWith('.')) continue
      if (entry.isDirectory()) await walk(found)
      if (entry.isFile())
        files.push({ path: found, name: relative(directory, found), size: (await stat(found)).size })
    }
  }
  try {
    await walk(directory)
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    const why = { ENOENT: 'there is none', ENOTDIR: 'it is not one', EACCES: 'that is not permitted' }[
      code ?? ''
    ]
    throw new UserError(`The directory ${directory} can not be read: ${why ?? message}`)
  }
  if (files.length === 0) throw new UserError(`There are no files in ${directory}`)
  return files.sort((a, b) => (a.name < b.name ? -1 : 1))
}

const RAW = 0x55
const SHA2_256 = 0x12

export interface Content {
  /** CID of the content: its bytes as one raw block. */
  content: CID
  piece: PieceLink
}

/** The CIDs of a file's content, as content and as a piece, in one go over the file and in constant memory. */
export const identify = async (
  { path }: ContentFile,
  { onProgress, signal }: { onProgress: (bytes: number) => void; signal: AbortSignal },
): Promise<Content> => {
  const sha256 = createHash('sha256')
  const { link } = await pieceOf(hashed(read(path, signal), sha256), { onProgress })
  return { content: cidOf(sha256), piece: link }
}

async function* read(path: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  await using file = await open(path)
  yield* file.createReadStream({ highWaterMark: 1024 * 1024, autoClose: false, signal })
}

async function* hashed(chunks: AsyncIterable<Uint8Array>, hash: Hash): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    hash.update(chunk)
    yield chunk
  }
}

const cidOf = (hash: Hash): CID => CID.createV1(RAW, createDigest(SHA2_256, hash.digest()))

interface StoreOptions {
  s3: S3Client
  bucket: string
  content: CID
  signal: AbortSignal
}

/**
 * Stores a file's content under its CID, if it is not there yet. What is stored hashes to the CID, or is not
 * stored: the file may have changed since it was identified.
 */
export const store = async (
  file: ContentFile,
  { s3, bucket, content, signal }: StoreOptions,
): Promise<void> => {
  const at = { Bucket: bucket, Key: `${content}` }
  if (await isStored(s3, at, file.size)) return
  const Body = Readable.from(checked(read(file.path, signal), content), { objectMode: false })
  await s3.send(new PutObjectCommand({ ...at, Body, ContentLength: file.size }), { abortSignal: signal })
}

/** The chunks, the last of which comes when all of them together hash to the CID. */
async function* checked(chunks: AsyncIterable<Uint8Array>, content: CID): AsyncGenerator<Uint8Array> {
  const sha256 = createHash('sha256')
  let last: Uint8Array = new Uint8Array()
  for await (const chunk of hashed(chunks, sha256)) {
    yield last
    last = chunk
  }
  if (!cidOf(sha256).equals(content)) throw new Error('It changed while it was read')
  yield last
}

const isStored = async (
  s3: S3Client,
  at: { Bucket: string; Key: string },
  size: number,
): Promise<boolean> => {
  try {
    const { ContentLength } = await s3.send(new HeadObjectCommand(at))
    return ContentLength === size
  } catch (cause) {
    if (cause instanceof NotFound) return false
    throw cause
  }
}
