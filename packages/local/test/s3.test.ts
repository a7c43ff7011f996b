import { readdirSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  NoSuchBucket,
  NoSuchKey,
  NotFound,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
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
