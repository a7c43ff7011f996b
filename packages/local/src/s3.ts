import { createHash, randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { access, link, mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { type ContentHash, contentHash } from '@w3filecoin/storefront/content-hash'
import { listen } from './listen.ts'
import { checkPresigned, isPresigned } from './presigned-url.ts'
import { S3Error } from './s3-error.ts'
import {
  abortUpload,
  beginUpload,
  checkPart,
  completeUpload,
  storePart,
  UPLOADS_DIRECTORY,
} from './s3-uploads.ts'
import { writeSparseFile } from './sparse-file.ts'

/**
 * A small S3. Each object is a file, streamed in and out, so that objects of any size take constant memory, and zeros no space. (The SQS
 * engine has an S3 too, but it holds several copies of each object in memory.) It has the features that the services and
 * the SDK use: buckets by path, objects without metadata, conditional writes, copies, uploads in parts, SHA-256 checksums, ranges,
 * lists, CORS for all origins. It checks the signature and the expiry of presigned URLs, and no other credentials. In a bucket of content
 * it refuses bytes that do not hash to the CID in their key. In a bucket of uploads it refuses a PUT without credentials.
 */
export interface S3 {
  port: number
  stop(): Promise<void>
}

/** Bytes of a file name. Keys are CIDs and names of documents. */
const MAX_NAME = 255
const MAX_LIST = 1000

/** Returns the directory of the objects of a bucket in a data directory. */
export const bucketDirectory = (data: string, bucket: string): string => join(data, S3_DIRECTORY, bucket)

/** The directory of all buckets in a data directory. */
export const S3_DIRECTORY = 's3'

export const startS3 = async (directory: string, port = 0): Promise<S3> => {
  // Remove incomplete objects of a crashed system.
  await rm(join(directory, INCOMING), { recursive: true, force: true })
  await mkdir(join(directory, INCOMING), { recursive: true })
  const webMethods: WebMethods = new Map()
  const server = createServer(
    (request, response) => void answer({ directory, webMethods }, request, response),
  )
  return {
    port: await listen(server, port),
    stop: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/**
 * The methods that web pages may use on the objects of a bucket, by its name. Only in memory: the local system provisions its
 * buckets at each start.
 */
type WebMethods = Map<string, readonly string[]>

interface Storage {
  directory: string
  webMethods: WebMethods
}

/** The directory of uploads in progress. It is not a valid bucket name. */
const INCOMING = '.incoming'

const answer = async (
  storage: Storage,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> => {
  try {
    await route(storage, request, response)
  } catch (cause) {
    // A request is also destroyed when its body was read to the end.
    if (response.headersSent || (request.destroyed && !request.complete)) return void response.destroy()
    const { status, code, message } = (
      cause instanceof S3Error ? cause : new S3Error(500, 'InternalError', (cause as Error).message)
    ) as S3Error
    // The next request cannot follow an unread body on the same connection.
    if (!request.complete) response.setHeader('connection', 'close')
    const body = `<Error><Code>${code}</Code><Message>${escapeXml(message)}</Message></Error>`
    response.writeHead(status, { 'content-type': 'application/xml' })
    response.end(request.method === 'HEAD' ? undefined : body)
  }
}

const route = async (
  { directory, webMethods }: Storage,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> => {
  // Do not parse with `URL`, which resolves `..` in a key.
  const [path = '/', query] = (request.url as string).split('?', 2)
  const searchParams = new URLSearchParams(query)
  const [name = '', ...segments] = path.slice(1).split('/')
  const key = decodeURIComponent(segments.join('/'))
  if (name === '' && request.method === 'GET') return listBuckets(directory, response)
  if (!/^[a-z0-9][a-z0-9.-]{2,62}$/.test(name))
    throw new S3Error(400, 'InvalidBucketName', `Invalid bucket name: ${name}`)
  const bucket = join(directory, name)
  const exists = await access(bucket).then(
    () => true,
    () => false,
  )
  const about = ['cors', 'uploads', 'uploadId'].find(parameter => searchParams.has(parameter))
  const what = `${request.method} ${key === '' ? 'bucket' : 'object'}${about === undefined ? '' : `?${about}`}`
  if (what === 'PUT bucket') {
    await mkdir(bucket, { recursive: true })
    response.end()
    return
  }
  if (!exists) throw new S3Error(404, 'NoSuchBucket', `The bucket ${name} does not exist`)
  if (what === 'PUT bucket?cors') {
    webMethods.set(name, await readAllowedMethods(request))
    response.end()
    return
  }
  allowOrigin(key === '' ? [] : (webMethods.get(name) ?? []), request, response)
  if (request.method === 'OPTIONS') {
    if (!response.hasHeader('access-control-allow-origin'))
      throw new S3Error(403, 'AccessForbidden', 'CORSResponse: This CORS request is not allowed')
    response.end()
    return
  }
  const known = [
    'list-type',
    'prefix',
    'start-after',
    'continuation-token',
    'max-keys',
    'x-id',
    'encoding-type',
    'response-content-type',
    'uploads',
    'uploadId',
    'partNumber',
  ]
  const asked = [...searchParams.keys()].find(
    parameter => !known.includes(parameter) && !/^x-amz-/i.test(parameter),
  )
  if (asked !== undefined) throw new S3Error(501, 'NotImplemented', `This S3 does not support ${asked}`)
  if (isPresigned(searchParams)) {
    const refusal = checkPresigned(request, path, searchParams, Date.now())
    if (refusal !== undefined) throw new S3Error(403, refusal.code, refusal.message)
  } else if (what === 'PUT object' && !request.headers.authorization && name.endsWith(UPLOADS))
    throw new S3Error(403, 'AccessDenied', `A PUT to the bucket ${name} needs a presigned URL`)
  const copied = request.headers['x-amz-copy-source']
  if (what === 'HEAD bucket') response.end()
  else if (what === 'PUT object' && typeof copied === 'string')
    await copyObject(directory, decodeURIComponent(copied), fileOf(bucket, key), response)
  else if (what === 'GET bucket') await listObjects(bucket, name, searchParams, response)
  else if (what === 'PUT object')
    await putObject(
      directory,
      fileOf(bucket, key),
      request,
      response,
      name.endsWith(CONTENT) ? hashIn(key) : undefined,
    )
  else if (what === 'GET object' || what === 'HEAD object')
    await getObject(fileOf(bucket, key), key, request, response, searchParams)
  else if (what === 'DELETE object') {
    await rm(fileOf(bucket, key), { force: true })
    response.writeHead(204).end()
  } else if (what === 'POST object?uploads') await beginUpload(directory, { bucket: name, key }, response)
  else if (what.endsWith('object?uploadId'))
    await routeUpload(directory, fileOf(bucket, key), searchParams, request, response)
  else throw new S3Error(405, 'MethodNotAllowed', `This S3 does not support ${what}`)
}

/** Answers a request about an upload in parts. */
const routeUpload = async (
  directory: string,
  file: string,
  parameters: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> => {
  const upload = parameters.get('uploadId') as string
  const incoming = join(directory, INCOMING, randomUUID())
  switch (request.method) {
    case 'PUT': {
      const part = Number(parameters.get('partNumber'))
      await checkPart(directory, upload, part)
      const sha256 = createHash('sha256')
      const etag = await receive(request, incoming, [sha256], () =>
        storePart(directory, { upload, part, incoming, sha256: sha256.digest('hex') }),
      )
      response.writeHead(200, { etag }).end()
      return
    }
    case 'POST':
      return completeUpload({ directory, upload, incoming, file }, await text(request), response)
    case 'DELETE':
      return abortUpload({ directory, upload, incoming }, response)
    default:
      throw new S3Error(405, 'MethodNotAllowed', `This S3 does not support ${request.method} of an upload`)
  }
}

/** Reads the methods of a PutBucketCors request. Its other properties are always those of `provision`. */
const readAllowedMethods = async (request: IncomingMessage): Promise<string[]> => {
  const xml = await text(request)
  return [...xml.matchAll(/<AllowedMethod>(\w+)<\/AllowedMethod>/g)].map(([, method = '']) => method)
}

/** Sets the CORS headers of a response if web pages may use these methods, the one of the request among them. */
const allowOrigin = (
  methods: readonly string[],
  request: IncomingMessage,
  response: ServerResponse,
): void => {
  const { origin, 'access-control-request-method': asked } = request.headers
  const method = request.method === 'OPTIONS' ? asked : request.method
  if (origin === undefined || method === undefined || !methods.includes(method)) return
  response.setHeader('access-control-allow-origin', '*')
  response.setHeader('access-control-expose-headers', 'ETag')
  if (request.method !== 'OPTIONS') return
  response.setHeader('access-control-allow-methods', methods.join(', '))
  const headers = request.headers['access-control-request-headers']
  if (headers !== undefined) response.setHeader('access-control-allow-headers', headers)
}

const fileOf = (bucket: string, key: string): string => {
  const name = encodeURIComponent(key).replaceAll('.', '%2E')
  if (name.length > MAX_NAME) throw new S3Error(400, 'KeyTooLongError', `The key is too long: ${key}`)
  return join(bucket, name)
}

/** Ending of the names of buckets that hold content by CID, e.g. `storefront-content`. */
const CONTENT = '-content'
/** Ending of the names of buckets that agents write to with presigned URLs, e.g. `storefront-uploads`. */
const UPLOADS = '-uploads'

/** Returns the hash that the bytes of a key must have; `undefined` if the key is not a CID, or its hash cannot be computed. */
const hashIn = (key: string): ContentHash | undefined => {
  try {
    return contentHash(key)
  } catch {
    return undefined
  }
}

/**
 * Copies an object. The copy is a link to the same file, because the file of an object never changes.
 *
 * @param source the bucket and the key of the object, e.g. `storefront-uploads/bafkrei…`
 */
const copyObject = async (
  directory: string,
  source: string,
  file: string,
  response: ServerResponse,
): Promise<void> => {
  const [, bucket = '', key = ''] = /^\/?([a-z0-9][a-z0-9.-]+)\/(.*)$/s.exec(source) ?? []
  const from = fileOf(join(directory, bucket), key)
  if (!(await stat(from).catch(() => undefined)))
    throw new S3Error(404, 'NoSuchKey', `The object ${source} does not exist`)
  const incoming = join(directory, INCOMING, randomUUID())
  await link(from, incoming)
  try {
    await rename(incoming, file)
  } finally {
    // `rename` leaves it if the file is a copy of the object already.
    await rm(incoming, { force: true })
  }
  const stats = await stat(file)
  response.writeHead(200, { 'content-type': 'application/xml' })
  response.end(
    `<CopyObjectResult><LastModified>${stats.mtime.toISOString()}</LastModified>` +
      `<ETag>${escapeXml(etagOf(stats))}</ETag></CopyObjectResult>`,
  )
}

/**
 * Writes to a temporary file and renames it, so that an object is never incomplete.
 *
 * @param hash the hash that the bytes must have: other bytes are refused
 */
const putObject = async (
  directory: string,
  file: string,
  request: IncomingMessage,
  response: ServerResponse,
  hash: ContentHash | undefined,
): Promise<void> => {
  if (request.headers['if-none-match'] === '*' && (await stat(file).catch(() => undefined)))
    throw new S3Error(412, 'PreconditionFailed', 'The object exists')
  const incoming = join(directory, INCOMING, randomUUID())
  await receive(request, incoming, hash ? [hash] : [], async () => {
    if (hash && !hash.matches())
      throw new S3Error(
        400,
        'BadDigest',
        `The bytes do not hash to the CID under which they are stored. Compute the CID again, or store other bytes.`,
      )
    await rename(incoming, file)
  })
  response.writeHead(200, { etag: etagOf(await stat(file)) }).end()
}

/**
 * Writes the body of a request to a file, which is removed if that fails.
 *
 * @param hashes get all bytes
 * @param finish is called when the file is complete and has the checksum that the request states. Its result is returned.
 */
const receive = async <T>(
  request: IncomingMessage,
  incoming: string,
  hashes: readonly { update(bytes: Uint8Array): unknown }[],
  finish: () => Promise<T>,
): Promise<T> => {
  const checksum = request.headers['x-amz-checksum-sha256']
  const sha256 = checksum === undefined ? undefined : createHash('sha256')
  const all = sha256 ? [...hashes, sha256] : hashes
  const chunked = request.headers['content-encoding']?.includes('aws-chunked')
  try {
    const body = chunked ? decodeChunks(request) : request
    const hashing = new Transform({
      transform: (chunk, _, done) => {
        for (const hash of all) hash.update(chunk)
        done(null, chunk)
      },
    })
    await pipeline(body, hashing, chunks => writeSparseFile(incoming, chunks))
    if (sha256 && sha256.digest('base64') !== checksum)
      throw new S3Error(400, 'BadDigest', 'The SHA256 you specified did not match the calculated checksum.')
    return await finish()
  } catch (cause) {
    await rm(incoming, { force: true })
    throw cause
  }
}

/** Decodes a body with content encoding `aws-chunked`, without its signatures and trailers. */
async function* decodeChunks(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0)
  /** Remaining bytes of the current chunk, with its line end. */
  let left = 0
  let ended = false
  for await (const bytes of body) {
    rest = rest.byteLength === 0 ? bytes : Buffer.concat([rest, bytes])
    while (!ended) {
      if (left > LINE_END.length) {
        const part = rest.subarray(0, left - LINE_END.length)
        if (part.byteLength === 0) break
        yield part
        left -= part.byteLength
        rest = rest.subarray(part.byteLength)
      } else if (left > 0) {
        if (rest.byteLength < left) break
        rest = rest.subarray(left)
        left = 0
      } else {
        const end = rest.indexOf(LINE_END)
        if (end === -1) break
        const size = Number.parseInt(rest.toString('latin1', 0, end), 16)
        if (!(size >= 0)) throw new S3Error(400, 'IncompleteBody', 'A chunk has no size')
        rest = rest.subarray(end + LINE_END.length)
        ended = size === 0
        left = size + LINE_END.length
      }
    }
  }
  if (!ended) throw new S3Error(400, 'IncompleteBody', 'The last chunk is missing')
}

const LINE_END = '\r\n'

const getObject = async (
  file: string,
  key: string,
  request: IncomingMessage,
  response: ServerResponse,
  searchParams: URLSearchParams,
): Promise<void> => {
  const stats = await stat(file).catch(() => undefined)
  if (stats === undefined) throw new S3Error(404, 'NoSuchKey', `The object ${key} does not exist`)
  const { size } = stats
  const range = request.headers.range === undefined ? undefined : parseRange(request.headers.range, size)
  const { start, end } = range ?? { start: 0, end: size - 1 }
  response.writeHead(range ? 206 : 200, {
    'content-type': searchParams.get('response-content-type') ?? 'application/octet-stream',
    'content-length': end - start + 1,
    'accept-ranges': 'bytes',
    'last-modified': stats.mtime.toUTCString(),
    etag: etagOf(stats),
    ...(range ? { 'content-range': `bytes ${start}-${end}/${size}` } : {}),
  })
  if (request.method === 'HEAD' || end < start) response.end()
  else await pipeline(createReadStream(file, { start, end }), response)
}

/** Parses a Range header: `bytes=2-5`, `bytes=2-` or `bytes=-2`. */
const parseRange = (range: string, size: number): { start: number; end: number } => {
  const [, from = '', to = ''] = /^bytes=(\d*)-(\d*)$/.exec(range) ?? []
  const start = from === '' ? Math.max(0, size - Number(to)) : Number(from)
  const end = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1)
  if (`${from}${to}` === '' || start > end)
    throw new S3Error(416, 'InvalidRange', `The range ${range} is not within ${size} bytes`)
  return { start, end }
}

const etagOf = ({ size, mtimeMs }: { size: number; mtimeMs: number }): string =>
  `"${size.toString(16)}-${Math.round(mtimeMs * 1000).toString(16)}"`

const listBuckets = async (directory: string, response: ServerResponse): Promise<void> => {
  const names = (await readdir(directory))
    .filter(name => name !== INCOMING && name !== UPLOADS_DIRECTORY)
    .sort()
  const buckets = names.map(name => `<Bucket><Name>${name}</Name></Bucket>`)
  response.writeHead(200, { 'content-type': 'application/xml' })
  response.end(`<ListAllMyBucketsResult><Buckets>${buckets.join('')}</Buckets></ListAllMyBucketsResult>`)
}

const listObjects = async (
  bucket: string,
  name: string,
  parameters: URLSearchParams,
  response: ServerResponse,
): Promise<void> => {
  const prefix = parameters.get('prefix') ?? ''
  const after = parameters.get('continuation-token') ?? parameters.get('start-after') ?? ''
  const max = Math.min(Number(parameters.get('max-keys') ?? MAX_LIST), MAX_LIST)
  const keys = (await readdir(bucket))
    .map(decodeURIComponent)
    .filter(key => key.startsWith(prefix) && key > after)
    .sort()
  const listed = keys.slice(0, max)
  const contents = await Promise.all(
    listed.map(async key => {
      const stats = await stat(fileOf(bucket, key)).catch(() => undefined)
      return stats === undefined
        ? ''
        : `<Contents><Key>${escapeXml(key)}</Key><Size>${stats.size}</Size>` +
            `<LastModified>${stats.mtime.toISOString()}</LastModified><ETag>${escapeXml(etagOf(stats))}</ETag></Contents>`
    }),
  )
  const more = keys.length > listed.length
  response.writeHead(200, { 'content-type': 'application/xml' })
  response.end(
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">' +
      `<Name>${name}</Name><Prefix>${escapeXml(prefix)}</Prefix><MaxKeys>${max}</MaxKeys>` +
      `<KeyCount>${listed.length}</KeyCount><IsTruncated>${more}</IsTruncated>${contents.join('')}` +
      `${more ? `<NextContinuationToken>${escapeXml(listed.at(-1)!)}</NextContinuationToken>` : ''}</ListBucketResult>`,
  )
}

const escapeXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
