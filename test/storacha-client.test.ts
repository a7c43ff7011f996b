import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import type { Client, create } from '@storacha/client'
import { Storefront } from '@storacha/filecoin-client'
import { Delegation } from '@ucanto/core'
import { Absentee } from '@ucanto/principal'
import { type FilecoinAcceptSuccess, placeIn, toPlaceKey } from '@w3filecoin/capabilities'
import { type EncodedInclusion, verifyInclusion } from '@w3filecoin/piece'
import { parseSigner, principal } from '@w3filecoin/runtime'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { type Content, randomContent, upload } from './content.ts'
import { awaitReceipt } from './receipts.ts'
import { connectStoracha, createSpace, createStoracha } from './storacha-agent.ts'
import { StorachaCli } from './storacha-cli.ts'
import { useSystem } from './system.ts'

/** The published upload client and its command line, unmodified: each of their calls that a storefront answers. */

/** The DID that the client and the CLI have for the service, unless they are configured. */
const DEFAULT_DID = 'did:web:up.storacha.network'

/** The storefront `storacha` acts as the client's default service. The other services know its key. */
const system = useSystem({
  storefronts: ['storacha'],
  configure: (role, config, { services }) => {
    const named = { did: DEFAULT_DID, keys: [services.storacha!.did] }
    if (role === 'storacha') return { ...config, self: named }
    const rename = (_: string, value: { did?: string } | null) =>
      value?.did === services.storacha!.did ? { ...value, ...named } : value
    return JSON.parse(JSON.stringify(config), rename)
  },
})
const { at } = system

/** The hosts that this process has sent requests to with `fetch`, which the clients use for all their requests. */
const hosts = new Set<string>()

beforeAll(() => {
  const { fetch } = globalThis
  vi.stubGlobal('fetch', (target: string | URL, init?: RequestInit) => {
    hosts.add(new URL(target).host)
    return fetch(target, init)
  })
})
afterAll(() => {
  vi.unstubAllGlobals()
})

describe.each([
  ['the did:key of a storefront', 'storefront', undefined],
  ['the did:web that is its default', 'storacha', DEFAULT_DID],
] as const)('a client with %s', (_name, role, web) => {
  const service = () => ({ did: web ?? at(role).did, url: at(role).url })
  let client: Client
  let content: Content
  let offered: Awaited<ReturnType<Client['capability']['filecoin']['offer']>>

  beforeAll(async () => {
    client = await createStoracha(service())
    await createSpace(client)
    content = await randomContent(100_000)
    await upload(system.local, content, role)
    offered = await client.capability.filecoin.offer(content.content, content.piece)
  })

  const promised = () => ({ submit: offered.fx.fork[0]!.link(), accept: offered.fx.join!.link() })

  test('K12: filecoin/offer of a space returns the next tasks as effects', async () => {
    expect(offered.out).toEqual({ ok: { piece: content.piece } })
    expect(offered.issuer?.did()).toBe(service().did)
    expect(offered.fx.fork).toHaveLength(1)
    expect(offered.fx.join).toBeDefined()
  })

  test('K12: getReceipt returns the outcome of both promised tasks, once they have one', async () => {
    await awaitReceipt(at(role), `${promised().accept}`)
    const submitted = await client.getReceipt(promised().submit as never)
    expect(submitted.out).toEqual({ ok: { piece: content.piece } })
    const accepted = await client.getReceipt(promised().accept as never)
    const { aggregate, inclusion, aux } = accepted.out.ok as FilecoinAcceptSuccess
    expect(aux).toEqual({ dataType: 0, dataSource: { dealID: expect.any(Number) } })
    const proof = { piece: content.piece, aggregate, inclusion: inclusion as EncodedInclusion }
    expect(verifyInclusion(proof)).toEqual({ ok: {} })
  })

  test('K12: getReceipt of a task without an outcome fails with ReceiptNotFound', async () => {
    const warnings = vi.spyOn(console, 'warn').mockReturnValue()
    const missing = await randomContent(1_000)
    const receipt = await client.capability.filecoin.offer(missing.content, missing.piece)
    const task = receipt.fx.join!.link() as never
    await expect(client.getReceipt(task, { retries: 0 })).rejects.toMatchObject({ name: 'ReceiptNotFound' })
    warnings.mockRestore()
  })

  test('K12: filecoin/info returns the aggregate with its proof, and the deal', async () => {
    const accepted = await awaitReceipt(at(role), `${promised().accept}`)
    const { aggregate, inclusion, aux } = accepted.out.ok as FilecoinAcceptSuccess
    const { out } = await client.capability.filecoin.info(content.piece)
    expect(out.ok).toMatchObject({
      piece: content.piece,
      aggregates: [{ aggregate, inclusion }],
      deals: [{ aggregate, provider: expect.stringMatching(/^f0\d+$/), aux }],
    })
  })

  test('K12: an agent with a delegation uses the space until the client revokes it', async () => {
    const other = await createStoracha(service())
    const delegation = await client.createDelegation(other.agent, ['filecoin/offer', 'filecoin/info'])
    await other.addSpace(delegation as never)
    expect((await other.capability.filecoin.offer(content.content, content.piece)).fx.join?.link()).toEqual(
      promised().accept,
    )
    expect((await other.capability.filecoin.info(content.piece)).out.ok).toBeDefined()

    expect(await client.revokeDelegation(delegation.cid)).toMatchObject({ ok: {} })
    expect((await other.capability.filecoin.info(content.piece)).out.error).toMatchObject({
      name: 'Unauthorized',
    })
  })

  test('K12: an agent that an account authorized by e-mail offers for a space of the account', async () => {
    // The state of a client after `login`, without the e-mail: the service attests that the account confirmed the session.
    const space = await client.createSpace('photos', { skipGatewayAuthorization: true })
    const account = Absentee.from({ id: 'did:mailto:example.com:alice' })
    const recovery = await space.createRecovery('did:mailto:example.com:alice')
    const session = await createStoracha(service())
    const login = await Delegation.delegate({
      issuer: account,
      audience: session.agent,
      capabilities: [{ can: '*', with: 'ucan:*' }],
      proofs: [recovery],
      expiration: Infinity,
    })
    const signer = parseSigner(at(role).key, web)
    const attestation = await Delegation.delegate({
      issuer: signer,
      audience: session.agent,
      capabilities: [{ can: 'ucan/attest', with: signer.did(), nb: { proof: login.cid } }],
      expiration: Infinity,
    })
    await session.addSpace(recovery)
    await session.addProof(login)
    const { piece, content: root } = await randomContent(1_000)
    expect((await session.capability.filecoin.offer(root, piece)).out.error).toMatchObject({
      name: 'Unauthorized',
    })
    await session.addProof(attestation)
    expect((await session.capability.filecoin.offer(root, piece)).out.ok).toEqual({ piece })
  })
})

describe('a client of the browser build', () => {
  /** The build for browsers, which is beside the one for Node. Its agents have RSA keys that cannot be exported. */
  const importBrowserBuild = (): Promise<{ create: typeof create }> => {
    const build = pathToFileURL(createRequire(import.meta.url).resolve('@storacha/client'))
    return import(new URL('./index.js', build).href)
  }
  let client: Client
  let content: Content

  beforeAll(async () => {
    client = await createStoracha(at('storefront'), await importBrowserBuild())
    await createSpace(client)
    content = await randomContent(1_000)
  })

  test('K12: an agent with an RSA key offers a piece of its space, and asks for it', async () => {
    expect(client.agent.did()).toMatch(/^did:key:z4MX/)
    const offered = await client.capability.filecoin.offer(content.content, content.piece)
    expect(offered.out).toEqual({ ok: { piece: content.piece } })
    expect((await client.capability.filecoin.info(content.piece)).out.ok).toMatchObject({
      piece: content.piece,
      workflows: [{ content: content.content }],
    })
  })

  test('K12: an agent with an RSA key delegates its space, and revokes the delegation', async () => {
    const other = await createStoracha(at('storefront'), await importBrowserBuild())
    const delegation = await client.createDelegation(other.agent, ['filecoin/offer'])
    await other.addSpace(delegation as never)
    const offered = await other.capability.filecoin.offer(content.content, content.piece)
    expect(offered.out).toEqual({ ok: { piece: content.piece } })
    expect(await client.revokeDelegation(delegation.cid)).toMatchObject({ ok: {} })
    const { piece, content: root } = await randomContent(1_000)
    expect((await other.capability.filecoin.offer(root, piece)).out.error).toMatchObject({
      name: 'Unauthorized',
    })
  })

  test('K12: an agent with an RSA key offers with its own DID, as its uploads do', async () => {
    const { issuer } = client.agent
    const proofs = client.proofs([{ can: 'filecoin/offer', with: client.currentSpace()!.did() }])
    const conf = { issuer, with: issuer.did(), audience: principal(at('storefront').did), proofs }
    const connection = connectStoracha(at('storefront')).filecoin
    const { piece, content: root } = await randomContent(1_000)
    expect((await Storefront.filecoinOffer(conf, root, piece, { connection })).out).toEqual({ ok: { piece } })
  })
})

describe('the CLI', () => {
  const service = () => at('storefront')
  let cli: StorachaCli
  let client: Client

  beforeAll(async () => {
    cli = await StorachaCli.open(service())
    client = await createStoracha(service())
    const space = await createSpace(client)
    const agent = await cli.run('whoami')
    const authorization = await space.createAuthorization(principal(agent.stdout.trim()))
    expect(await cli.addSpace(authorization)).toMatchObject({ status: 0, stdout: `${space.did()}\n` })
  })
  afterAll(() => cli?.close())

  /** Runs `can filecoin info` and returns its output with single spaces. */
  const info = async ({ piece }: Content) => {
    const { stdout, ...exit } = await cli.run('can', 'filecoin', 'info', `${piece}`)
    return { ...exit, stdout: stdout.replaceAll(/\s+/g, ' ') }
  }

  test('K12: `can filecoin info` prints the aggregate and the deal of a piece', async () => {
    const content = await randomContent(1_000)
    await upload(system.local, content)
    const { fx } = await client.capability.filecoin.offer(content.content, content.piece)
    const accepted = await awaitReceipt(service(), `${fx.join?.link()}`)
    const { aggregate, aux } = accepted.out.ok as FilecoinAcceptSuccess
    const deal = `Aggregate: ${aggregate} Provider: f0\\d+ Deal ID: ${toPlaceKey(placeIn(aux)!)}`
    const { status, stdout, stderr } = await info(content)
    expect(status, stderr).toBe(0)
    expect(stdout).toMatch(new RegExp(`Piece CID: ${content.piece} Deals: ${deal}`))
  })

  test('K12: `can filecoin info` says that a piece has no deal yet, and fails for a piece that was not offered', async () => {
    const content = await randomContent(1_000)
    expect(await info(content)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('Error: failed to get filecoin info: '),
    })
    await client.capability.filecoin.offer(content.content, content.piece)
    const { status, stdout, stderr } = await info(content)
    expect(status, stderr).toBe(0)
    expect(stdout).toContain(`Piece CID: ${content.piece} Deals: Piece being aggregated`)
  })

  test('K12: the CLI connects only to its service', async () => {
    expect(await cli.connections()).toEqual([new URL(service().url).host])
  })
})

test('K12: the clients send requests only to their service', () => {
  expect([...hosts].sort()).toEqual(['storefront', 'storacha'].map(role => new URL(at(role).url).host).sort())
})
