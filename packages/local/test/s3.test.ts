import { createHash } from 'node:crypto'
import { readdirSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  NoSuchBucket,
  NoSuchKey,
  NotFound,
  PutBucketCorsCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { abortUpload, beginUpload, completeUpload, copyObject, presignUpload, putPart } from '@w3filecoin/aws'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { type S3, startS3 } from '../src/s3.ts'
import { temporaryDirectory } from './echo/index.ts'
import { eventually } from './eventually.ts'

/** Through the AWS SDK, as the services use it. */
describe('the small S3', () => {
  const directory = temporaryDirectory()
  const Bucket = 'bucket'
  let engine: S3
  let s3: S3Client

  beforeAll(async () => {
    engine = await startS3(directory.path)
    s3 = new S3Client({
      region: 'us-east-1',
      endpoint: `http://127.0.0.1:${engine.port}`,
      forcePathStyle: true,
      credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    })
    await s3.send(new CreateBucketCommand({ Bucket }))
  })
  afterAll(async () => {
    await engine?.stop()
    directory[Symbol.dispose]()
  })

  const read = async (Key: string, Range?: string) => {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key, ...(Range && { Range }) }))
    return (await Body?.transformToString()) as string
  }

  it('returns stored objects, under any key', async () => {
    for (const Key of ['plain', 'with/slash', '../up', '.', 'dot.json', 'ä % & <>', 'x'.repeat(255)]) {
      const put = await s3.send(new PutObjectCommand({ Bucket, Key, Body: `body of ${Key}` }))
      expect(await read(Key)).toBe(`body of ${Key}`)
      const head = await s3.send(new HeadObjectCommand({ Bucket, Key }))
      expect(head).toMatchObject({ ETag: put.ETag, ContentLength: Buffer.byteLength(`body of ${Key}`) })
    }
  })

  it('stores a stream of any length, and an empty object', async () => {
    const chunk = Buffer.alloc(1_000_003, 'abc')
    const chunks = 30
    const Body = Readable.from(Array.from({ length: chunks }, () => chunk))
    const ContentLength = chunks * chunk.byteLength
    await s3.send(new PutObjectCommand({ Bucket, Key: 'stream', Body, ContentLength }))
    expect(Buffer.from(await read('stream')).equals(Buffer.concat(Array(chunks).fill(chunk)))).toBe(true)

    await s3.send(new PutObjectCommand({ Bucket, Key: 'nothing', Body: Buffer.alloc(0) }))
    expect(await read('nothing')).toBe('')
  })

  it('returns ranges', async () => {
    await s3.send(new PutObjectCommand({ Bucket, Key: 'digits', Body: '0123456789' }))
    expect(await read('digits', 'bytes=2-4')).toBe('234')
    expect(await read('digits', 'bytes=7-')).toBe('789')
    expect(await read('digits', 'bytes=-2')).toBe('89')
    await expect(read('digits', 'bytes=10-')).rejects.toMatchObject({ name: 'InvalidRange' })
  })

  it('lists keys in order, page by page', async () => {
    const keys = ['list/c', 'list/a', 'list/b', 'list/d', 'list/e']
    for (const Key of keys) await s3.send(new PutObjectCommand({ Bucket, Key, Body: Buffer.alloc(0) }))
    const listed: string[] = []
    let ContinuationToken: string | undefined
    do {
      const page = await s3.send(
        new ListObjectsV2Command({ Bucket, Prefix: 'list/', MaxKeys: 2, ContinuationToken }),
      )
      listed.push(...(page.Contents ?? []).map(({ Key }) => Key!))
      ContinuationToken = page.NextContinuationToken
    } while (ContinuationToken)
    expect(listed).toEqual([...keys].sort())
  })

  describe('an upload in parts', () => {
    const object = (key: string) => ({ client: s3, bucket: Bucket, key })
    const begin = async (key: string) => ({
      ...object(key),
      upload: await beginUpload({ ...object(key), type: 'text/plain' }),
    })

    it('makes one object of its parts, whatever their order and their repetitions', async () => {
      const upload = await begin('in parts')
      const put = (part: number, text: string) => putPart({ ...upload, part, bytes: Buffer.from(text) })
      const third = await put(2, 'three')
      await put(0, 'other')
      const etags = [await put(0, 'one '), await put(1, 'two '), third] as string[]
      expect(await completeUpload({ ...upload, etags, bytes: 13 })).toBe(true)
      expect(await read('in parts')).toBe('one two three')
      // A repeated request finds the object.
      expect(await completeUpload({ ...upload, etags, bytes: 13 })).toBe(true)
      expect(await put(0, 'late')).toBeUndefined()
    })

    it('is refused with the tag of another part, or of an earlier version, and stays as it is', async () => {
      const upload = await begin('wrong tag')
      const put = (text: string) => putPart({ ...upload, part: 0, bytes: Buffer.from(text) })
      const earlier = (await put('other')) as string
      const etags = [(await put('first')) as string]
      for (const wrong of [earlier, '"0-0"', '"../lock"'])
        expect(await completeUpload({ ...upload, etags: [wrong], bytes: 5 })).toBe(false)
      expect(await put('first'), 'the same bytes have the same tag').toBe(etags[0])
      expect(await completeUpload({ ...upload, etags, bytes: 5 })).toBe(true)
    })

    it('is completed by several requests at the same time, each of which finds the object', async () => {
      const upload = await begin('at once')
      const bytes = Buffer.alloc(2 ** 20, 'x')
      const etags = (await Promise.all(
        Array.from({ length: 20 }, (_, part) => putPart({ ...upload, part, bytes })),
      )) as string[]
      const complete = () => completeUpload({ ...upload, etags, bytes: 20 * bytes.byteLength })
      expect(await Promise.all([complete(), complete(), complete()])).toEqual([true, true, true])
      expect(readdirSync(join(directory.path, '.incoming'))).toEqual([])
    })

    it('takes no space for zeros, and returns them', async () => {
      const upload = await begin('sparse')
      const bytes = Buffer.alloc(3 * 2 ** 20)
      bytes.write('between zeros', 1_500_000)
      const etags = []
      for (const part of [0, 1, 2])
        etags.push(
          await putPart({ ...upload, part, bytes: bytes.subarray(part * 2 ** 20, (part + 1) * 2 ** 20) }),
        )
      expect(await completeUpload({ ...upload, etags: etags as string[], bytes: bytes.byteLength })).toBe(
        true,
      )
      const { size, blocks } = statSync(join(directory.path, Bucket, 'sparse'))
      expect(size).toBe(bytes.byteLength)
      expect(blocks * 512).toBeLessThanOrEqual(2 ** 18)
      expect(Buffer.from(await read('sparse')).equals(bytes)).toBe(true)
    })

    it('leaves nothing when it is aborted, and is not a bucket', async () => {
      const upload = await begin('aborted')
      const etags = [(await putPart({ ...upload, part: 0, bytes: Buffer.from('x') })) as string]
      await abortUpload(upload)
      await abortUpload(upload)
      expect(await completeUpload({ ...upload, etags, bytes: 1 })).toBe(false)
      expect(await putPart({ ...upload, part: 0, bytes: Buffer.from('x') })).toBeUndefined()
      expect(readdirSync(join(directory.path, '.uploads'))).toEqual([])
      const { Buckets = [] } = await s3.send(new ListBucketsCommand({}))
      expect(Buckets.map(({ Name }) => Name)).not.toContain('.uploads')
    })
  })

  it('refuses to replace an object with If-None-Match: *', async () => {
    const object = { Bucket, Key: 'once', IfNoneMatch: '*' }
    await s3.send(new PutObjectCommand({ ...object, Body: 'first' }))
    await expect(s3.send(new PutObjectCommand({ ...object, Body: 'second' }))).rejects.toMatchObject({
      name: 'PreconditionFailed',
    })
    expect(await read('once')).toBe('first')
  })

  it('answers with NoSuchKey, NotFound and NoSuchBucket', async () => {
    await s3.send(new PutObjectCommand({ Bucket, Key: 'gone', Body: Buffer.alloc(0) }))
    await s3.send(new DeleteObjectCommand({ Bucket, Key: 'gone' }))
    await expect(read('gone')).rejects.toBeInstanceOf(NoSuchKey)
    await expect(s3.send(new HeadObjectCommand({ Bucket, Key: 'gone' }))).rejects.toBeInstanceOf(NotFound)
    const put = s3.send(new PutObjectCommand({ Bucket: 'no-bucket', Key: 'key', Body: Buffer.alloc(0) }))
    await expect(put).rejects.toBeInstanceOf(NoSuchBucket)
  })

  it('answers web pages about the methods of a bucket, and sends CORS headers only for these', async () => {
    const at = (key: string, init: RequestInit) => fetch(`http://127.0.0.1:${engine.port}/${key}`, init)
    const preflight = (key: string, method: string) =>
      at(key, {
        method: 'OPTIONS',
        headers: {
          origin: 'https://page.example',
          'access-control-request-method': method,
          'access-control-request-headers': 'content-type,x-amz-meta',
        },
      })
    const origin = ({ headers }: Response) => headers.get('access-control-allow-origin')
    await s3.send(new CreateBucketCommand({ Bucket: 'for-pages' }))
    expect((await preflight('for-pages/key', 'PUT')).status).toBe(403)
    const rule = { AllowedOrigins: ['*'], AllowedHeaders: ['*'], AllowedMethods: ['GET', 'PUT'] }
    await s3.send(new PutBucketCorsCommand({ Bucket: 'for-pages', CORSConfiguration: { CORSRules: [rule] } }))

    const allowed = await preflight('for-pages/key', 'PUT')
    expect([allowed.status, origin(allowed)]).toEqual([200, '*'])
    expect(allowed.headers.get('access-control-allow-methods')).toBe('GET, PUT')
    expect(allowed.headers.get('access-control-allow-headers')).toBe('content-type,x-amz-meta')
    for (const [key, method] of [
      ['for-pages/key', 'DELETE'],
      ['for-pages', 'GET'],
      ['for-pages?cors', 'PUT'],
      ['bucket/key', 'GET'],
    ] as const) {
      const refused = await preflight(key, method)
      expect([refused.status, origin(refused)], `${method} ${key}`).toEqual([403, null])
    }

    const headers = { origin: 'null' }
    const put = await at('for-pages/key', { method: 'PUT', body: 'body', headers })
    expect([put.status, origin(put)]).toEqual([200, '*'])
    expect(put.headers.get('access-control-expose-headers')).toBe('ETag')
    expect(origin(await at('for-pages/missing', { headers }))).toBe('*')
    expect(origin(await at('for-pages/key', {}))).toBeNull()
    expect(origin(await at('for-pages/key', { method: 'DELETE', headers }))).toBeNull()
    expect(origin(await at('bucket/plain', { headers }))).toBeNull()
  })

  it('refuses bytes that do not hash to the CID in their key, in a bucket of content only', async () => {
    await s3.send(new CreateBucketCommand({ Bucket: 'some-content' }))
    const bytes = Buffer.from('the content')
    const cidOf = (code: number, codec: number, hash: string) =>
      `${CID.createV1(codec, createDigest(code, createHash(hash).update(bytes).digest()))}`
    const at = (bucket: string, key: string) => `http://127.0.0.1:${engine.port}/${bucket}/${key}`
    const put = async (url: string, body: string | Buffer) =>
      (await fetch(url, { method: 'PUT', body })).status

    for (const cid of [
      cidOf(0x12, 0x55, 'sha256'),
      cidOf(0x13, 0x55, 'sha512'),
      cidOf(0xb240, 0x55, 'blake2b512'),
      cidOf(0x12, 0x0202, 'sha256'),
    ]) {
      const refused = await fetch(at('some-content', cid), { method: 'PUT', body: 'other bytes' })
      expect([refused.status, await refused.text()], cid).toEqual([
        400,
        '<Error><Code>BadDigest</Code><Message>The bytes do not hash to the CID under which they are stored. Compute the CID again, or store other bytes.</Message></Error>',
      ])
      const chunked = new PutObjectCommand({ Bucket: 'some-content', Key: cid, Body: 'other bytes' })
      await expect(s3.send(chunked), cid).rejects.toMatchObject({ name: 'BadDigest' })
      expect((await fetch(at('some-content', cid))).status, 'nothing is stored').toBe(404)

      expect(await put(at('some-content', cid), bytes), cid).toBe(200)
      expect(await put(at('some-content', cid), 'other bytes'), 'after the content').toBe(400)
      expect(Buffer.from(await (await fetch(at('some-content', cid))).arrayBuffer()).equals(bytes)).toBe(true)
      expect(await put(at('bucket', cid), 'other bytes'), 'in another bucket').toBe(200)
    }
    expect(readdirSync(join(directory.path, '.incoming'))).toEqual([])
    // The CID of a DAG is not the hash of the stored bytes.
    for (const key of [cidOf(0x12, 0x70, 'sha256'), 'notes.txt'])
      expect(await put(at('some-content', key), 'other bytes'), key).toBe(200)
  })

  describe('with a presigned URL for a PUT', () => {
    const bytes = Buffer.from('the upload')
    const sha256 = createHash('sha256').update(bytes).digest()
    const bucket = 'some-uploads'
    const presign = (key = 'uploaded') =>
      presignUpload({ client: s3, bucket, key, sha256, bytes: bytes.byteLength })
    const put = async (url: string, body: string | Buffer, headers: Record<string, string>) => {
      const answer = await fetch(url, { method: 'PUT', body, headers })
      return [answer.status, /<Code>(\w+)/.exec(await answer.text())?.[1]]
    }
    const isStored = async (Key: string) =>
      s3.send(new HeadObjectCommand({ Bucket: bucket, Key })).then(
        () => true,
        () => false,
      )
    beforeAll(() => s3.send(new CreateBucketCommand({ Bucket: bucket })))
    afterEach(() => vi.useRealTimers())

    it('stores the bytes that were signed', async () => {
      const { url, headers } = await presign('right')
      expect(await put(url, bytes, headers)).toEqual([200, undefined])
      expect(await isStored('right')).toBe(true)
    })

    it('refuses other bytes, another length, and a request without the checksum', async () => {
      const { url, headers } = await presign()
      const { 'x-amz-checksum-sha256': checksum, ...unchecked } = headers
      expect(await put(url, 'The upload', headers)).toEqual([400, 'BadDigest'])
      const longer = { 'x-amz-checksum-sha256': checksum! }
      expect(await put(url, 'the upload and more', longer)).toEqual([403, 'SignatureDoesNotMatch'])
      expect(await put(url, bytes, unchecked)).toEqual([403, 'SignatureDoesNotMatch'])
      const other = createHash('sha256').update('The upload').digest('base64')
      const forged = { ...headers, 'x-amz-checksum-sha256': other }
      expect(await put(url, 'The upload', forged)).toEqual([403, 'SignatureDoesNotMatch'])
      expect(await isStored('uploaded')).toBe(false)
    })

    it('refuses it for another key, without a signature, and after 15 minutes', async () => {
      const { url, headers } = await presign()
      expect(await put(url.replace('/uploaded', '/other'), bytes, headers)).toEqual([
        403,
        'SignatureDoesNotMatch',
      ])
      expect(await put(url.split('?')[0]!, bytes, headers)).toEqual([403, 'AccessDenied'])
      vi.useFakeTimers({ now: Date.now() + 901_000, toFake: ['Date'] })
      expect(await put(url, bytes, headers)).toEqual([403, 'AccessDenied'])
      expect([await isStored('uploaded'), await isStored('other')]).toEqual([false, false])
    })

    it('copies an object to another bucket, which keeps it when the first one is deleted', async () => {
      await s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'kept', Body: bytes }))
      const copy = () => copyObject({ client: s3, bucket: Bucket, key: 'kept', from: bucket })
      await copy()
      await copy()
      await s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: 'kept' }))
      expect(await read('kept')).toBe('the upload')
      await expect(copy()).rejects.toMatchObject({ name: 'NoSuchKey' })
      expect(readdirSync(join(directory.path, '.incoming'))).toEqual([])
    })
  })

  it('keeps nothing of an incomplete upload', async () => {
    const socket = connect(engine.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write('PUT /bucket/half HTTP/1.1\r\nhost: local\r\ncontent-length: 1000\r\n\r\nonly this')
    const incoming = () => readdirSync(join(directory.path, '.incoming')).length
    await eventually('the beginning', () => incoming() === 1)
    socket.destroy()
    await eventually('the end', () => incoming() === 0)
    await expect(read('half')).rejects.toBeInstanceOf(NoSuchKey)
  })
})
