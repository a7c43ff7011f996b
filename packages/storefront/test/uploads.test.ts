import { Receipt as Receipts } from '@ucanto/core'
import type { Delegation, Invocation, Receipt, Signer } from '@ucanto/interface'
import { type Blob, type Failure, spaceBlobAdd, Tasks } from '@w3filecoin/capabilities'
import { Authority, deriveSigner } from '@w3filecoin/runtime'
import { ask, type Content, served, signerOf, someContent } from '@w3filecoin/testing'
import { CID } from 'multiformats/cid'
import { identity } from 'multiformats/hashes/identity'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { contentOf, uploadExpiry } from '../src/domain/upload.ts'
import { createStorefront, type Dependencies } from '../src/index.ts'
import {
  ADMISSION,
  agent,
  aws,
  clock,
  contents,
  delegate,
  dependencies,
  offer,
  recordOf,
  space,
  storefront,
  stranger,
  upload,
} from './setup.ts'

const other = await signerOf('another space')
const listed = await signerOf('listed space')

/** The content that was uploaded, by CID, with its URL. */
const uploaded = new Map<string, string>()
/** The addresses that were given, by the CID of the content. */
let addresses: string[] = []

const UPLOADS: NonNullable<Dependencies['uploads']> = {
  spaces: 'open',
  maxBytes: 5 * 2 ** 30,
  perDay: { listed: 100, shared: 100 },
  bytesPerDay: { listed: 2 ** 40, shared: 2 ** 40 },
  store: {
    find: async content => uploaded.get(content),
    presign: async (content, { bytes }) => {
      addresses.push(content)
      return {
        url: `https://uploads.test/${content}?signature=${addresses.length}`,
        headers: { 'content-length': `${bytes}` },
        expires: 1,
      }
    },
  },
}

const storefrontWith = (
  uploads: Partial<typeof UPLOADS> | undefined = {},
  more: Partial<Dependencies> = {},
) => createStorefront({ ...dependencies, ...more, uploads: { ...UPLOADS, ...uploads } })
const open = (...args: Parameters<typeof storefrontWith>) => storefrontWith(...args).api

beforeEach(async () => {
  clock.now += 2 * 24 * 3_600_000
  addresses = []
  uploaded.clear()
  await dependencies.stores.space.putMany([{ space: listed.did(), provider: 'did:web:provider' }])
})
afterEach(() => aws.table('space').removeMany([{ space: listed.did() }]))

const blobOf = ({ content, bytes }: Pick<Content, 'content' | 'bytes'>): Blob => ({
  digest: content.multihash.bytes,
  size: bytes.byteLength,
})

interface AddOptions {
  issuer?: Signer
  of?: Signer
  proofs?: Delegation[]
  nonce?: string
}

const addBlob = async (blob: Blob, { issuer = agent, of = space, proofs, nonce }: AddOptions = {}) =>
  spaceBlobAdd.invoke({
    issuer,
    audience: storefront,
    with: of.did(),
    nb: { blob },
    proofs: proofs ?? (issuer === of ? [] : [await delegate(of, issuer, { can: 'space/blob/add' })]),
    expiration: Infinity,
    ...(nonce && { nonce }),
  })

const abilityOf = (task: unknown) => (task as Invocation).capabilities[0]!.can

/** Returns the promised tasks by their ability, and the receipts of those that are done. */
const readPromises = ({ fx }: Receipt) => {
  const done = fx.fork
    .filter(task => abilityOf(task) === 'ucan/conclude')
    .map(task => {
      const blocks = new Map([...(task as Invocation).iterateIPLDBlocks()].map(b => [`${b.cid}`, b]))
      const root = (task as Invocation).capabilities[0]!.nb as { receipt: never }
      return Receipts.view({ root: root.receipt, blocks: blocks as never }) as unknown as Receipt
    })
  const task = (can: string) => fx.fork.find(task => abilityOf(task) === can) as Invocation
  return {
    task,
    receipt: (can: string) => done.find(({ ran }) => `${ran.link()}` === `${task(can).cid}`),
  }
}
const allocated = (receipt: Receipt) =>
  readPromises(receipt).receipt('blob/allocate')!.out.ok as {
    size: number
    address?: { url: string; headers: object; expires: number }
  }

/** Delivers a receipt of the `http/put` that a receipt of `space/blob/add` promises, as published clients do. */
const concludePut = async (
  api: ReturnType<typeof open>,
  added: Receipt,
  { content }: Pick<Content, 'content'>,
) => {
  const { signer } = await deriveSigner(content.multihash.digest)
  return concludeTask(api, signer, readPromises(added).task('http/put').cid)
}

/** Delivers a receipt of a task, which any key has signed. */
const concludeTask = async (api: ReturnType<typeof open>, signer: Signer, cid: object) => {
  const receipt = (await Receipts.issue({
    issuer: signer,
    ran: cid,
    result: { ok: {} },
  } as never)) as unknown as Receipt
  return ask(
    api,
    await Tasks.conclude(agent, storefront, { root: receipt.root, blocks: receipt.iterateIPLDBlocks() }),
  )
}

const errorOf = ({ out }: Receipt) => out.error as (Failure & { retryAt?: string }) | undefined
const quotaOf = (owner: string) =>
  dependencies.stores.quota.get({ owner, day: new Date(clock.now).toISOString().slice(0, 10) })

describe('space/blob/add', () => {
  it('promises the tasks that published clients expect, with an address in the receipt of the first', async () => {
    const content = await someContent('published form')
    const added = await ask(open(), await addBlob(blobOf(content)))
    const { task, receipt } = readPromises(added)
    expect(added.fx.fork.map(abilityOf)).toEqual([
      'blob/allocate',
      'ucan/conclude',
      'http/put',
      'blob/accept',
    ])
    expect(added.out.ok).toEqual({ site: { 'ucan/await': ['.out.ok.site', task('blob/accept').cid] } })
    expect(task('blob/allocate').capabilities[0]).toMatchObject({
      with: storefront.did(),
      nb: { blob: blobOf(content), cause: added.ran.link() },
    })
    expect(allocated(added)).toEqual({
      size: content.bytes.byteLength,
      address: {
        url: `https://uploads.test/${content.content}?signature=1`,
        headers: { 'content-length': `${content.bytes.byteLength}` },
        expires: 1,
      },
    })
    expect(receipt('http/put') ?? receipt('blob/accept')).toBeUndefined()
    expect(await served(open(), added.ran.link()), 'it is not stored').toBeUndefined()
  })

  it('gives no address for content that is stored: all its tasks are done, and nothing is counted', async () => {
    const content = await someContent('stored')
    uploaded.set(`${content.content}`, 'https://content.test/stored')
    const added = await ask(open(), await addBlob(blobOf(content), { issuer: stranger, of: stranger }))
    expect(allocated(added)).toEqual({ size: 0 })
    const { receipt } = readPromises(added)
    expect(receipt('http/put')!.out).toEqual({ ok: {} })
    expect(siteOf(receipt('blob/accept')!)).toEqual(['https://content.test/stored'])
    expect(addresses).toEqual([])
    expect(await quotaOf('shared')).toBeUndefined()
  })

  it('repeats the promises of a repeated invocation with a new address, and counts it once', async () => {
    const content = await someContent('repeated')
    const api = open({ perDay: { listed: 1, shared: 1 } })
    const invocation = await addBlob(blobOf(content))
    const [first, again] = [await ask(api, invocation), await ask(api, invocation)]
    const promised = (receipt: Receipt) =>
      ['blob/allocate', 'http/put', 'blob/accept'].map(can => `${readPromises(receipt).task(can).cid}`)
    expect(promised(again)).toEqual(promised(first))
    expect(allocated(again).address!.url).not.toBe(allocated(first).address!.url)
    expect(await quotaOf('shared')).toMatchObject({ uploads: 1, uploadBytes: content.bytes.byteLength })
    // Another invocation of the same blob may be another upload.
    expect(errorOf(await ask(api, await addBlob(blobOf(content), { nonce: '2' })))?.name).toBe(
      'TooManyUploads',
    )
  })

  it('counts a repeated invocation again after the uploaded object has expired', async () => {
    const content = await someContent('repeated late')
    const invocation = await addBlob(blobOf(content))
    await ask(open(), invocation)
    clock.now = uploadExpiry(clock.now) * 1000
    await ask(open(), invocation)
    expect(await quotaOf('shared')).toMatchObject({ uploads: 1 })
  })

  it.each([
    ['addresses', { perDay: { listed: 2, shared: 2 } }],
    ['bytes', { bytesPerDay: { listed: 2_000, shared: 2_000 } }],
  ])(
    'refuses what exceeds the %s of a day, of each listed space and of all others together',
    async (_, bounds) => {
      const api = open(bounds)
      const add = async (seed: string, options?: AddOptions) =>
        ask(api, await addBlob(blobOf(await someContent(`${seed} ${Object.keys(bounds)}`, 1_000)), options))
      for (const seed of ['a', 'b']) {
        expect(errorOf(await add(seed, { of: listed }))).toBeUndefined()
        expect(errorOf(await add(seed))).toBeUndefined()
      }
      const given = addresses.length
      const upTo = new Date(Math.ceil(clock.now / 86_400_000) * 86_400_000).toISOString()
      const refused = { name: 'TooManyUploads', retryAt: upTo }
      const written = vi.spyOn(dependencies.stores.upload, 'putMany').mockClear()
      expect(errorOf(await add('c', { of: listed }))).toMatchObject({
        ...refused,
        message: expect.stringMatching(/^A space may upload/),
      })
      for (const of of [space, other]) expect(errorOf(await add('c', { of }))).toMatchObject(refused)
      expect(addresses).toHaveLength(given)
      expect(written).not.toHaveBeenCalled()
      // Refusals are not counted.
      expect(await quotaOf('shared')).toMatchObject({ uploads: 2, uploadBytes: 2_000 })
      clock.now += 86_400_000
      expect(errorOf(await add('c', { of: other }))).toBeUndefined()
    },
  )

  it('counts beside the offers of the day, also in rows of earlier code', async () => {
    const day = new Date(clock.now).toISOString().slice(0, 10)
    await aws.table('quota').add({ owner: 'shared', day }, { offers: 3, nonces: 1 }, { expiresAt: 1 })
    const content = await someContent('beside offers')
    await ask(open(), await addBlob(blobOf(content)))
    expect(await quotaOf('shared')).toMatchObject({ offers: 3, nonces: 1, uploads: 1 })
    const first = { ...ADMISSION, offersPerDay: { listed: 4, shared: 4 } }
    const api = open({}, { admission: first })
    expect(errorOf(await ask(api, await offer(content)))).toBeUndefined()
    expect(errorOf(await ask(api, await offer(await someContent('one too many'))))?.name).toBe(
      'TooManyOffers',
    )
  })

  it('starts the count of offers at zero after an upload', async () => {
    await ask(open(), await addBlob(blobOf(await someContent('upload first'))))
    const api = open({}, { admission: { ...ADMISSION, offersPerDay: { listed: 1, shared: 1 } } })
    expect(errorOf(await ask(api, await offer(await someContent('offer then'))))).toBeUndefined()
    expect(await quotaOf('shared')).toMatchObject({ offers: 1, uploads: 1 })
  })

  it.each([
    ['uploads: listed', { spaces: 'listed' as const }, {}],
    ['spaces: listed', {}, { admission: { ...ADMISSION, spaces: 'listed' as const } }],
  ])('refuses spaces that are not listed with %s', async (setting, uploads, more) => {
    const api = open(uploads, more)
    const blob = blobOf(await someContent(`listed only, ${setting}`))
    expect(errorOf(await ask(api, await addBlob(blob)))).toMatchObject({
      name: 'SpaceNotListed',
      space: space.did(),
    })
    expect(errorOf(await ask(api, await addBlob(blob, { of: listed })))).toBeUndefined()
    // An agent names itself, and proves that it may act for a listed space.
    const proofs = [await delegate(listed, stranger, { can: 'space/blob/*' })]
    const own = await addBlob(blob, { issuer: stranger, of: stranger, proofs, nonce: 'own' })
    expect(errorOf(await ask(api, own))).toBeUndefined()
    expect(await quotaOf(listed.did())).toMatchObject({ uploads: 2 })
  })

  it('does not exist where uploads are off', async () => {
    const { api } = createStorefront({ ...dependencies, uploads: undefined })
    const added = await ask(api, await addBlob(blobOf(await someContent('off'))))
    expect(errorOf(added)?.name).toBe('HandlerNotFound')
  })

  it('refuses agents without authority over the space, and revoked ones', async () => {
    const blob = blobOf(await someContent('authority'))
    const refused = async (options: AddOptions) =>
      errorOf(await ask(open(), await addBlob(blob, options)))?.name
    expect(await refused({ issuer: stranger, proofs: [] })).toBe('Unauthorized')
    expect(await refused({ proofs: [await delegate(space, agent, { can: 'filecoin/*' })] })).toBe(
      'Unauthorized',
    )
    expect(await refused({ of: other, proofs: [await delegate(space, agent, { can: '*' })] })).toBe(
      'Unauthorized',
    )
    const expired = await delegate(space, agent, { can: 'space/blob/add', expiration: 1 })
    expect(await refused({ proofs: [expired] })).toBe('Unauthorized')
    expect(addresses).toEqual([])
  })

  it('is allowed for the blob that a delegation names, up to its size', async () => {
    const content = await someContent('one blob')
    const blob = blobOf(content)
    const given = (nb: object) => delegate(space, agent, { can: 'space/blob/add', nb })
    const add = async (nb: object) =>
      errorOf(await ask(open(), await addBlob(blob, { proofs: [await given(nb)] })))?.name
    expect(await add({ blob })).toBeUndefined()
    expect(await add({ blob: { ...blob, size: blob.size - 1 } })).toBe('Unauthorized')
    expect(await add({ blob: blobOf(await someContent('another blob')) })).toBe('Unauthorized')
  })

  it('refuses blobs that one PUT cannot bring, or S3 cannot check', async () => {
    const { digest, size } = blobOf(await someContent('bounds'))
    const refused = async (blob: Blob) =>
      errorOf(await ask(open({ maxBytes: 2_000 }), await addBlob(blob)))?.name
    expect(await refused({ digest, size: 2_001 })).toBe('BlobSizeOutsideOfSupportedRange')
    expect(await refused({ digest, size: -1 })).toBe('BlobSizeOutsideOfSupportedRange')
    for (const bad of [identity.digest(new Uint8Array(3)).bytes, digest.subarray(1), new Uint8Array(0)])
      expect(await refused({ digest: bad, size })).toBe('UnsupportedHash')
    expect(await refused({ digest, size: 2_000 })).toBeUndefined()
  })

  it('names the content by its CID as one raw block', async () => {
    const { content, bytes } = await someContent('cid')
    const { ok } = contentOf(blobOf({ content, bytes }), 2 ** 20)
    expect(CID.parse(ok!.content).equals(content)).toBe(true)
  })
})

/** Returns the locations that the receipt of a `blob/accept` names. */
const siteOf = (receipt: Receipt) => {
  const [site] = receipt.fx.fork as unknown as Invocation[]
  expect(receipt.out.ok).toEqual({ site: site!.cid })
  expect(site!.issuer.did()).toBe(storefront.did())
  const { can, nb } = site!.capabilities[0] as { can: string; nb: { location: string[] } }
  expect(can).toBe('assert/location')
  return nb.location
}

describe('ucan/conclude of http/put', () => {
  it('issues the receipt of blob/accept, once the content is there', async () => {
    const api = open()
    const content = await someContent('concluded')
    const added = await ask(api, await addBlob(blobOf(content)))
    const accept = readPromises(added).task('blob/accept').cid
    const early = await concludePut(api, added, content)
    expect(errorOf(early)?.name).toBe('AllocatedMemoryHadNotBeenWrittenTo')
    expect(await served(api, accept)).toBeUndefined()
    uploaded.set(`${content.content}`, 'https://content.test/concluded')
    for (const _ of ['once', 'again'])
      expect((await concludePut(api, added, content)).out.ok).toEqual({ time: clock.now })
    const receipt = await served(api, accept)
    expect(siteOf(receipt!)).toEqual(['https://content.test/concluded'])
    expect(await new Authority().signed(receipt!, storefront)).toBe(true)
  })

  it('refuses a task that was not promised, or whose promise has expired', async () => {
    const content = await someContent('not promised')
    uploaded.set(`${content.content}`, 'https://content.test/x')
    const elsewhere = await ask(open(), await addBlob(blobOf(content)))
    expect(errorOf(await concludePut(open(), elsewhere, content))?.name).toBe('UnknownSender')
    uploaded.clear()
    const added = await ask(open(), await addBlob(blobOf(content)))
    clock.now = uploadExpiry(clock.now) * 1000
    expect(errorOf(await concludePut(open(), added, content))?.name).toBe('UnknownSender')
  })

  it('does not search for a task whose CID no task has: DynamoDB refuses keys of more than 2 KB', async () => {
    const get = vi.fn(async () => undefined)
    const upload = { ...dependencies.stores.upload, get } as never
    const api = open({}, { stores: { ...dependencies.stores, upload } })
    for (const bytes of [3, 3_000]) {
      const cid = CID.createV1(0x71, identity.digest(new Uint8Array(bytes)))
      expect(errorOf(await concludeTask(api, agent, cid))?.name).toBe('UnknownSender')
    }
    expect(get).not.toHaveBeenCalled()
  })
})

describe('content that was uploaded', () => {
  /** The source of content, all of which would expire unless it is kept. */
  const expiring = (keep: () => Promise<void>): Dependencies['content'] => ({
    ...dependencies.content,
    open: async (content, signal) => {
      const bytes = await dependencies.content.open(content, signal)
      return bytes && Object.assign(bytes, { keep })
    },
  })
  const drain = (service: ReturnType<typeof storefrontWith>) => aws.settle(service.consumers)

  it('is kept when it hashes to an offered piece, before the piece is submitted', async () => {
    const stages: (string | undefined)[] = []
    const content = await someContent('kept')
    const keep = vi.fn(async () => void stages.push((await recordOf(content))?.stage))
    const service = storefrontWith({}, { content: expiring(keep) })
    upload(content)
    await ask(service.api, await offer(content))
    await drain(service)
    expect(keep).toHaveBeenCalledTimes(1)
    expect(stages).toEqual(['offered'])
    expect((await recordOf(content))?.stage).toBe('queued')
  })

  it('is not kept when it hashes to another piece', async () => {
    const keep = vi.fn(async () => {})
    const service = storefrontWith({}, { content: expiring(keep) })
    const content = { ...(await someContent('wrong')), piece: (await someContent('right')).piece }
    upload(content)
    await ask(service.api, await offer(content))
    await drain(service)
    expect(keep).not.toHaveBeenCalled()
    expect((await recordOf(content))?.stage).toBe('failed')
  })

  it('stays offered when it cannot be kept, e.g. because it expired meanwhile', async () => {
    const keep = vi.fn(async () => {
      throw new Error('NoSuchKey')
    })
    const service = storefrontWith({}, { content: expiring(keep) })
    const content = await someContent('gone')
    upload(content)
    await ask(service.api, await offer(content))
    await drain(service).catch(() => {})
    expect(keep).toHaveBeenCalled()
    expect((await recordOf(content))?.stage).toBe('offered')
    contents.delete(`${content.content}`)
  })
})
