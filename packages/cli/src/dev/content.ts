import { createHash, type Hash } from 'node:crypto'
import { open, opendir, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { Readable } from 'node:stream'
import { HeadObjectCommand, NotFound, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import { type PieceLink, pieceOf } from '@w3filecoin/piece'
import { UserError } from '@w3filecoin/runtime/user-error'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'
import { count } from '../text.ts'

/** A file whose content is stored. */
export interface ContentFile {
  path: string
  /** Path relative to the journey's directory, e.g. `photos/cat.jpg`. */
  name: string
  size: number
}

/** Why an entry of the journey's directory is not taken. */
export type SkipReason = 'hidden' | 'link' | 'special' | 'unreadable'

/** An entry that is not taken. */
export interface Skipped {
  /** Path relative to the journey's directory. */
  name: string
  reason: SkipReason
  /** For an unreadable entry, e.g. `permission denied`. */
  detail?: string
}

export interface Found {
  files: ContentFile[]
  skipped: Skipped[]
}

/**
 * Returns the regular files of a directory and its subdirectories, sorted by name, and the entries that are not taken:
 * hidden files, symbolic links, special files, and directories that cannot be read.
 *
 * @throws UserError if the directory itself cannot be read, or has no file that is taken
 */
export const findFiles = async (directory: string): Promise<Found> => {
  const files: ContentFile[] = []
  const skipped: Skipped[] = []
  const walk = async (path: string): Promise<void> => {
    for await (const entry of await opendir(path)) {
      const found = join(path, entry.name)
      const name = relative(directory, found)
      const skip = (reason: SkipReason, detail?: string) =>
        skipped.push({ name, reason, ...(detail !== undefined && { detail }) })
      if (entry.name.startsWith('.')) skip('hidden')
      else if (entry.isSymbolicLink()) skip('link')
      else if (!entry.isDirectory() && !entry.isFile()) skip('special')
      else
        try {
          if (entry.isDirectory()) await walk(found)
          else files.push({ path: found, name, size: (await stat(found)).size })
        } catch (cause) {
          skip('unreadable', explain(cause))
        }
    }
  }
  try {
    await walk(directory)
  } catch (cause) {
    throw new UserError(`Cannot read the directory ${directory}: ${explain(cause)}. Check --files.`)
  }
  const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1)
  skipped.sort(byName)
  if (files.length === 0)
    throw new UserError(
      [
        `The directory ${directory} has no files to take.`,
        describeSkipped(skipped),
        'Pass another one with --files.',
      ]
        .filter(Boolean)
        .join(' '),
    )
  return { files: files.sort(byName), skipped }
}

const explain = (cause: unknown): string => {
  const { code, message } = cause as NodeJS.ErrnoException
  const reasons: Record<string, string> = {
    ENOENT: 'it does not exist',
    ENOTDIR: 'it is not a directory',
    EACCES: 'permission denied',
  }
  return reasons[code ?? ''] ?? message
}

/** Names listed for each reason. */
const MAX_NAMES = 3

const REASONS: Record<SkipReason, readonly [one: string, many: string]> = {
  hidden: ['hidden', 'hidden'],
  link: ['symbolic link', 'symbolic links'],
  special: ['neither file nor directory', 'neither files nor directories'],
  unreadable: ['unreadable', 'unreadable'],
}

/**
 * Describes the entries that are not taken, in one sentence; empty if there are none.
 *
 * @example 'Skipped 3 entries: 2 hidden (.env, .git), 1 symbolic link (latest).'
 */
export const describeSkipped = (skipped: readonly Skipped[]): string => {
  if (skipped.length === 0) return ''
  const groups = [...Map.groupBy(skipped, ({ reason }) => reason)].map(([reason, entries]) => {
    const names = entries
      .slice(0, MAX_NAMES)
      .map(({ name, detail }) => (detail === undefined ? name : `${name}: ${detail}`))
    const more = entries.length > MAX_NAMES ? ` and ${count(entries.length - MAX_NAMES)} more` : ''
    return `${count(entries.length)} ${REASONS[reason][entries.length === 1 ? 0 : 1]} (${names.join(', ')}${more})`
  })
  return `Skipped ${count(skipped.length)} ${skipped.length === 1 ? 'entry' : 'entries'}: ${groups.join(', ')}.`
}

const RAW = 0x55
const SHA2_256 = 0x12

export interface Content {
  /** CID of the content as one raw block, e.g. `bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy`. */
  content: CID
  piece: PieceLink
}

/** Computes a file's content CID and piece CID in one pass and constant memory. `onProgress` gets the bytes read so far. */
export const identify = async (
  { path }: ContentFile,
  { onProgress, signal }: { onProgress: (bytes: number) => void; signal: AbortSignal },
): Promise<Content> => {
  const sha256 = createHash('sha256')
  const { link } = await pieceOf(hashChunks(readChunks(path, signal), sha256), { onProgress })
  return { content: toCid(sha256), piece: link }
}

async function* readChunks(path: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  await using file = await open(path)
  yield* file.createReadStream({ highWaterMark: 1024 * 1024, autoClose: false, signal })
}

/** Yields the chunks and adds them to the hash. */
async function* hashChunks(chunks: AsyncIterable<Uint8Array>, hash: Hash): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    hash.update(chunk)
    yield chunk
  }
}

const toCid = (hash: Hash): CID => CID.createV1(RAW, createDigest(SHA2_256, hash.digest()))

interface StoreOptions {
  s3: S3Client
  bucket: string
  content: CID
  signal: AbortSignal
}

/**
 * Stores a file's content under its CID, unless the bucket already has it. If the file has changed since `identify`
 * and no longer hashes to the CID, the upload fails.
 */
export const store = async (
  file: ContentFile,
  { s3, bucket, content, signal }: StoreOptions,
): Promise<void> => {
  const object = { Bucket: bucket, Key: `${content}` }
  if (await isStored(s3, object, file.size)) return
  const Body = Readable.from(verifyChunks(readChunks(file.path, signal), content), { objectMode: false })
  await s3.send(new PutObjectCommand({ ...object, Body, ContentLength: file.size }), { abortSignal: signal })
}

/** Yields the chunks; throws before the last one if together they do not hash to the CID. */
async function* verifyChunks(chunks: AsyncIterable<Uint8Array>, content: CID): AsyncGenerator<Uint8Array> {
  const sha256 = createHash('sha256')
  let last: Uint8Array = new Uint8Array()
  for await (const chunk of hashChunks(chunks, sha256)) {
    yield last
    last = chunk
  }
  if (!toCid(sha256).equals(content)) throw new Error('The file changed while it was read')
  yield last
}

const isStored = async (
  s3: S3Client,
  object: { Bucket: string; Key: string },
  size: number,
): Promise<boolean> => {
  try {
    const { ContentLength } = await s3.send(new HeadObjectCommand(object))
    return ContentLength === size
  } catch (cause) {
    if (cause instanceof NotFound) return false
    throw cause
  }
}
