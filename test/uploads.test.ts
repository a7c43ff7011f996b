import { createHash } from 'node:crypto'
import { utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { HeadObjectCommand } from '@aws-sdk/client-s3'
import { type Client, create } from '@storacha/client'
import * as Service from '@storacha/client/service'
import { StoreMemory } from '@storacha/client/stores/memory'
import { ed25519 } from '@ucanto/principal'
import type { FilecoinAcceptSuccess } from '@w3filecoin/capabilities'
import { type ConnectOptions, connect, verify } from '@w3filecoin/client'
import { s3Client } from '@w3filecoin/local/engines'
import { type EncodedInclusion, verifyInclusion } from '@w3filecoin/piece'
import { principal } from '@w3filecoin/runtime'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { type Content, randomContent } from './content.ts'
import { awaitReceipt } from './receipts.ts'
import { useSystem } from './system.ts'

/** Content arrives through addresses that the storefront gives, on the whole system. */
const system = useSystem({
  storefronts: ['listed', 'off', 'small'],
  configure: (role, config) => {
    if (role === 'listed') return { ...config, uploads: 'listed' }
    if (role === 'off') return { ...config, uploads: 'off' }
    if (role !== 'small') return config
    return { ...config, maxUploadBytes: 10_000, uploadBytesPerDay: { shared: 15_000 } }
  },
})
const { at } = system

/** The requests that this process has sent with `fetch`, e.g. `PUT /storefront-uploads/bafkrei…`. */
const requests: string[] = []
beforeAll(() => {
  const { fetch } = globalThis
  vi.stubGlobal('fetch', (target: string | URL, init?: RequestInit) => {
    requests.push(`${init?.method ?? 'GET'} ${new URL(target).pathname}`)
    return fetch(target, init)
  })
})
afterAll(() => {
  vi.unstubAllGlobals()
})

/** Whether a bucket has the content. */
const isIn = async (bucket: string, { content }: Pick<Content, 'content'>) => {
  const s3 = s3Client(system.local.engines)
  try {
    await s3.send(new HeadObjectCommand({ Bucket: bucket, Key: `${content}` }))
    return true
  } catch {
    return false
  } finally {
    s3.destroy()
  }
}

const agentOf = async (role: string, options: ConnectOptions = {}) =>
  connect(at(role).url, { signer: (await ed25519.generate()) as never, ...options })

/** Asks for an address as an agent without this client does. */
const addressFor = async (role: string, { content, bytes }: Pick<Content, 'content' | 'bytes'>) => {
  const w3 = await agentOf(role)
  const blob = { digest: content.multihash.bytes, size: bytes.byteLength }
  const { fx, out } = await w3.invoke('space/blob/add', { blob })
  expect(out.error).toBeUndefined()
  for (const effect of fx.fork)
    for (const block of 'iterateIPLDBlocks' in effect ? effect.iterateIPLDBlocks() : []) {
      const found = /https?:\/\/[^ ]+&x-id=PutObject/.exec(Buffer.from(block.bytes).toString('latin1'))
      if (found) return found[0]
    }
  throw new Error('There is no address')
}
const headersOf = (bytes: Uint8Array) => ({
  'x-amz-checksum-sha256': createHash('sha256').update(bytes).digest('base64'),
})

describe('the published client', () => {
  let client: Client
  beforeAll(async () => {
    const { did, url } = at('storefront')
    const options = { id: principal(did), url: new URL(url) }
    client = await create({
      store: new StoreMemory(),
      serviceConf: {
        access: Service.accessServiceConnection(options),
        upload: Service.uploadServiceConnection(options),
        filecoin: Service.filecoinServiceConnection(options),
        gateway: Service.gatewayServiceConnection(options),
      },
      receiptsEndpoint: new URL('/receipt/', url),
    })
    const space = await client.createSpace('photos', { skipGatewayAuthorization: true })
    await space.save()
  })

  test('K13: uploadFile of @storacha/client brings a file to a deal', async () => {
    const { bytes } = await randomContent(300_000)
    const shards: { cid: CID; piece?: never }[] = []
    const onShardStored = (meta: unknown) => void shards.push(meta as never)
    const root = await client.uploadFile(new Blob([bytes as Uint8Array<ArrayBuffer>]), { onShardStored })
    expect(root.toString()).toMatch(/^baf/)
    const [{ cid, piece }] = shards as [{ cid: CID; piece: never }]
    // The client has offered the piece for its agent. The same offer for the space gets the same promises.
    const content = CID.createV1(0x55, cid.multihash)
    const offered = await client.capability.filecoin.offer(content, piece)
    const accepted = await awaitReceipt(at('storefront'), `${offered.fx.join!.link()}`)
    const { aggregate, inclusion, aux } = accepted.out.ok as FilecoinAcceptSuccess
    expect(aux).toMatchObject({ dataType: 0, dataSource: { dealID: expect.any(Number) } })
    expect(verifyInclusion({ piece, aggregate, inclusion: inclusion as EncodedInclusion })).toEqual({
      ok: {},
    })
    expect(await isIn('storefront-content', { content })).toBe(true)
    expect(requests).toContain(`PUT /storefront-uploads/${content}`)

    const before = requests.length
    expect(`${await client.uploadFile(new Blob([bytes as Uint8Array<ArrayBuffer>]))}`).toBe(`${root}`)
    expect(requests.slice(before).filter(request => request.startsWith('PUT'))).toEqual([])
  })

  test('K13: uploadFile in several shards, and uploadDirectory, store every shard', async () => {
    const { bytes } = await randomContent(1_500_000)
    const shards: CID[] = []
    const onShardStored = ({ cid }: { cid: unknown }) => void shards.push(cid as CID)
    const blob = new Blob([bytes as Uint8Array<ArrayBuffer>])
    await client.uploadFile(blob, { shardSize: 1_200_000, onShardStored })
    await client.uploadDirectory([new File([blob], 'a.bin'), new File(['b'], 'b.txt')], { onShardStored })
    expect(shards).toHaveLength(3)
    for (const { multihash } of shards)
      expect(await isIn('storefront-uploads', { content: CID.createV1(0x55, multihash) })).toBe(true)
  })
})

describe('a new agent without any knowledge of S3', () => {
  test('K13: adds bytes, which arrive through an address and are kept', async () => {
    const w3 = await agentOf('storefront')
    const { bytes, content } = await randomContent(70_000)
    const before = requests.length
    const proof = await w3.add(bytes as Uint8Array<ArrayBuffer>)
    const report = await verify(proof, { storefront: w3.did, file: bytes as Uint8Array<ArrayBuffer> })
    expect(report).toMatchObject({ file: 'same' })
    expect(requests.slice(before).filter(request => /^(PUT|HEAD)/.test(request))).toEqual([
      `PUT /storefront-uploads/${content}`,
    ])
    expect([
      await isIn('storefront-uploads', { content }),
      await isIn('storefront-content', { content }),
    ]).toEqual([true, true])
  })

  test('K13: sends no content that is stored already', async () => {
    const w3 = await agentOf('storefront')
    await w3.start(new Uint8Array(127))
    const before = requests.length
    await (await agentOf('storefront')).start(new Uint8Array(127))
    expect(requests.slice(before).filter(request => request.startsWith('PUT'))).toEqual([])
  })
})

describe('an address', () => {
  const put = async (url: string, body: Uint8Array, headers: Record<string, string>) =>
    (await fetch(url, { method: 'PUT', body: body as Uint8Array<ArrayBuffer>, headers })).status

  test('K13: takes exactly the bytes that it was given for', async () => {
    const content = await randomContent(5_000)
    const url = await addressFor('storefront', content)
    const other = Uint8Array.from(content.bytes, byte => byte ^ 1)
    expect(await put(url, other, headersOf(content.bytes)), 'other bytes').toBe(400)
    expect(await put(url, other, headersOf(other)), 'another checksum').toBe(403)
    expect(await put(url, content.bytes, {}), 'no checksum').toBe(403)
    expect(await put(url, content.bytes.subarray(1), headersOf(content.bytes)), 'fewer bytes').toBe(403)
    expect(await put(url.split('?')[0]!, content.bytes, headersOf(content.bytes)), 'no signature').toBe(403)
    expect(await isIn('storefront-uploads', content)).toBe(false)
    expect(await put(url, content.bytes, headersOf(content.bytes))).toBe(200)
    expect(await isIn('storefront-uploads', content)).toBe(true)
  })

  test('K13: is given again when the upload is old, so that it cannot expire before it is offered', async () => {
    const content = await randomContent(5_000)
    await put(await addressFor('storefront', content), content.bytes, headersOf(content.bytes))
    await expect(addressFor('storefront', content)).rejects.toThrow('There is no address')
    const fourDaysAgo = new Date(Date.now() - 4 * 86_400_000)
    const file = join(system.data, 's3', 'storefront-uploads', `${content.content}`)
    await utimes(file, fourDaysAgo, fourDaysAgo)
    expect(await put(await addressFor('storefront', content), content.bytes, headersOf(content.bytes))).toBe(
      200,
    )
    await expect(addressFor('storefront', content)).rejects.toThrow('There is no address')
  })

  test('K13: content that no offer names is not kept', async () => {
    const content = await randomContent(5_000)
    await put(await addressFor('storefront', content), content.bytes, headersOf(content.bytes))
    const w3 = await agentOf('storefront')
    const { piece } = await randomContent(5_000)
    const offered = await w3.offer({ content: content.content, piece })
    for await (const _ of w3.watch(offered)) void _
    expect(await w3.status(offered)).toMatchObject({ stage: 'failed' })
    expect(await isIn('storefront-content', content)).toBe(false)
  })
})

describe('a storefront', () => {
  const about = async (role: string) => (await (await fetch(at(role).url)).json()) as { content: object }

  test('K13: names at GET / whether it gives addresses', async () => {
    expect((await about('storefront')).content).toMatchObject({ from: 'bucket', uploads: 'open' })
    expect((await about('listed')).content).toMatchObject({ uploads: 'listed' })
    expect((await about('off')).content).not.toHaveProperty('uploads')
  })

  test('K13: refuses spaces that are not listed, with uploads: listed', async () => {
    const { bytes } = await randomContent(100)
    const add = (await agentOf('listed')).start(bytes as Uint8Array<ArrayBuffer>)
    await expect(add).rejects.toMatchObject({ code: 'SpaceNotListed' })
  })

  test('K13: with uploads off takes content as before', async () => {
    const { bytes, content } = await randomContent(100)
    await (await agentOf('off')).start(bytes as Uint8Array<ArrayBuffer>)
    expect(await isIn('off-content', { content })).toBe(true)
    const w3 = await agentOf('off')
    const { out } = await w3.invoke('space/blob/add', {
      blob: { digest: (await sha256.digest(bytes)).bytes, size: 100 },
    })
    expect(out.error).toMatchObject({ name: 'HandlerNotFound' })
  })

  test('K13: refuses more bytes than a day may bring, and stores nothing of them', async () => {
    const [first, second] = [await randomContent(9_000), await randomContent(9_000)]
    await (await agentOf('small')).start(first.bytes as Uint8Array<ArrayBuffer>)
    const refused = (await agentOf('small')).start(second.bytes as Uint8Array<ArrayBuffer>)
    await expect(refused).rejects.toMatchObject({ code: 'TooManyUploads' })
    expect(await isIn('small-uploads', second)).toBe(false)
    expect(await isIn('small-uploads', first)).toBe(true)
  })

  test('K13: takes content that is too large for an address where it names another one', async () => {
    const { bytes, content } = await randomContent(20_000)
    await (await agentOf('small')).start(bytes as Uint8Array<ArrayBuffer>)
    expect(await isIn('small-content', { content })).toBe(true)
  })
})
