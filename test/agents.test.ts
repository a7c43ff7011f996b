import * as DagCbor from '@ipld/dag-cbor'
import { CAR, CBOR, Delegation, invoke as invocation, Message } from '@ucanto/core'
import type { Block, Delegation as DelegationView, DID, Receipt, Signer } from '@ucanto/interface'
import { Absentee, ed25519 } from '@ucanto/principal'
import type { FilecoinAcceptSuccess } from '@w3filecoin/capabilities'
import { type EncodedInclusion, verifyInclusion } from '@w3filecoin/piece'
import { bytesOf, linkOf, p256Signer, rsaSigner } from '@w3filecoin/testing'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'
import { expect, test } from 'vitest'
import { type Content, randomContent, upload } from './content.ts'
import { follow } from './follow.ts'
import { type Agent, createAgent, invoke, offer } from './invoke.ts'
import { awaitReceipt, effectOf } from './receipts.ts'
import { useSystem } from './system.ts'

/** A DID that published clients have as the default of the storefront. */
const ALIAS: DID = 'did:web:up.storacha.network'
const login = await ed25519.generate()

const system = useSystem({
  configure: (role, config) => {
    if (role === 'aggregator')
      return { ...config, limits: { ...config.limits, paddedBytes: 2 ** 22, maxWaitSeconds: 1 } }
    return role === 'storefront' ? { ...config, aliases: [ALIAS], attestors: [{ did: login.did() }] } : config
  },
})
const storefront = () => system.at('storefront')

const delegate = (
  issuer: Signer,
  audience: Signer,
  {
    can,
    resource,
    proofs = [],
    nb,
  }: { can: string; resource: string; proofs?: DelegationView[]; nb?: object },
) =>
  Delegation.delegate({
    issuer,
    audience,
    capabilities: [{ can, with: resource, ...(nb && { nb }) }] as never,
    proofs,
    expiration: Infinity,
  }) as Promise<DelegationView>

const uploadRandom = async (): Promise<Content> => {
  const content = await randomContent(20_000)
  await upload(system.local, content)
  return content
}

const packCar = (root: Block, blocks: readonly Block[]) =>
  CAR.encode({
    roots: [root],
    blocks: new Map(blocks.map(block => [`${block.cid}`, block])),
  } as never) as Uint8Array<ArrayBuffer>

/** Posts a message to the storefront, and returns the answer. */
const postMessage = async (body: Uint8Array<ArrayBuffer>) => {
  const headers = { 'content-type': 'application/vnd.ipld.car' }
  const response = await fetch(storefront().url, { method: 'POST', headers, body })
  expect(response.status).toBe(200)
  const { roots, blocks } = CAR.decode(new Uint8Array(await response.arrayBuffer()) as never)
  return Message.view({ root: roots[0]!.cid, store: blocks as never })
}

/** Posts a message to the storefront, and returns the receipt of one of its tasks. */
const post = async (body: Uint8Array<ArrayBuffer>, task: { toString(): string }): Promise<Receipt> =>
  (await postMessage(body)).get(task as never) as Receipt

/** Builds an offer without sending it. */
const buildOffer = (
  agent: Agent,
  { content, piece }: Pick<Content, 'content' | 'piece'>,
  audience = storefront().did as DID,
) =>
  invocation({
    issuer: agent.issuer,
    audience: { did: () => audience },
    capability: { can: 'filecoin/offer', with: agent.with, nb: { content, piece } },
    proofs: agent.proofs,
    expiration: Infinity,
  } as Parameters<typeof invocation>[0]).buildIPLDView()

/** Checks that an offer ends with a proof that verifies. */
const expectProof = async (offered: Receipt) => {
  const { accepted } = await follow(system, offered)
  const { piece, aggregate, inclusion, aux } = accepted.out.ok as FilecoinAcceptSuccess
  expect(verifyInclusion({ piece, aggregate, inclusion: inclusion as EncodedInclusion })).toEqual({ ok: {} })
  expect(aux).toMatchObject({ dataType: 0, dataSource: { dealID: expect.any(Number) } })
}

test('K1: agents with keys of every kind go from offer to proof, with chains that mix the kinds', async () => {
  const keys: Signer[] = [await ed25519.generate(), await rsaSigner(), await p256Signer()]
  const [first, second, third] = keys as [Signer, Signer, Signer]
  const chains: [Signer, Signer, Signer][] = [
    [first, second, third],
    [second, third, first],
    [third, first, second],
    [second, second, second],
  ]
  await Promise.all(
    chains.map(async ([space, team, issuer]) => {
      const grant = { can: 'filecoin/*', resource: space.did() }
      const proofs = [
        await delegate(team, issuer, { ...grant, proofs: [await delegate(space, team, grant)] }),
      ]
      await expectProof(
        await offer(storefront(), await uploadRandom(), { agent: { issuer, with: space.did(), proofs } }),
      )
    }),
  )
})

test('K2: a message with five good and five bad invocations has five results and five errors that name the reason', async () => {
  const tasks = await Promise.all(
    Array.from({ length: 5 }, async () => {
      const { content, piece } = await randomContent(1_000)
      const agent = await createAgent()
      return buildOffer(agent, { content, piece })
    }),
  )
  const model = DagCbor.decode<Record<string, unknown>>(tasks[0]!.root.bytes as never)
  const block = (value: object) => {
    const bytes = DagCbor.encode(value)
    return { cid: linkOf(bytes, 0x71), bytes }
  }
  const unreadable = block({ hello: 'world' })
  const large = block({ ...model, fct: [{ note: 'x'.repeat(70_000) }] })
  const otherKey = block({ ...model, iss: Uint8Array.from([0xe7, 0x01, 2, ...bytesOf('key', 32)]) })
  const otherHash = {
    cid: CID.createV1(0x71, createDigest(0x1e, bytesOf('hash', 32))),
    bytes: DagCbor.encode(model),
  }
  const missing = linkOf(bytesOf('missing', 10), 0x71)
  const bad: [unknown, string, RegExp][] = [
    [unreadable.cid, 'MalformedUCAN', /is not a UCAN/],
    [large.cid, 'UCANTooLarge', /at most 65536 are allowed/],
    [otherKey.cid, 'UnsupportedKey', /secp256k1.*Ed25519, RSA, P-256/],
    [otherHash.cid, 'UnsupportedHash', /0x1e.*sha2-256/],
    [missing, 'UCANNotFound', /is missing/],
  ]
  const execute = bad.flatMap(([cid], n) => [cid, tasks[n]!.cid])
  const root = await CBOR.write({ 'ucanto/message@7.0.0': { execute } })
  const blocks = [
    ...tasks.flatMap(task => [...task.iterateIPLDBlocks()]),
    unreadable,
    large,
    otherKey,
    otherHash,
  ]
  const message = await postMessage(packCar(root as Block, blocks as Block[]))
  for (const [n, [cid, name, reason]] of bad.entries()) {
    const receipt = message.get(cid as never) as Receipt
    expect(receipt.out.error).toMatchObject({ name, message: expect.stringMatching(reason) })
    await expect(receipt.verifySignature(ed25519.Verifier.parse(storefront().did))).resolves.toEqual({
      ok: {},
    })
    expect((message.get(tasks[n]!.cid as never) as Receipt).out.ok).toBeDefined()
  }
})

test('K2: a bad or unneeded proof beside a good one does no harm', async () => {
  const rsa = await rsaSigner()
  const agent = await createAgent()
  const unneeded = await delegate(rsa, agent.issuer, { can: '*', resource: rsa.did() })
  const forged = Object.create(rsa, { did: { value: () => agent.with } }) as Signer
  const bad = await delegate(forged, agent.issuer, { can: 'filecoin/*', resource: agent.with })
  const proofs = [unneeded, bad, ...agent.proofs]
  const receipt = await offer(storefront(), await randomContent(1_000), { agent: { ...agent, proofs } })
  expect(receipt.out.ok).toBeDefined()
})

test('K2: an empty nonce is no nonce', async () => {
  const { content, piece } = await randomContent(1_000)
  const agent = await createAgent()
  const task = await buildOffer(agent, { content, piece })
  // The signature does not contain an empty nonce.
  const bytes = DagCbor.encode({ ...DagCbor.decode<object>(task.root.bytes as never), nnc: '' })
  const cid = linkOf(bytes, 0x71)
  const root = await CBOR.write({ 'ucanto/message@7.0.0': { execute: [cid] } })
  const blocks = [{ cid, bytes }, ...task.iterateIPLDBlocks()] as Block[]
  const receipt = await post(packCar(root as Block, blocks), cid)
  expect(`${receipt.ran.link()}`).toBe(`${cid}`)
  const plain = await offer(storefront(), { content, piece }, { agent })
  expect(`${receipt.fx.join?.link()}`).toBe(`${plain.fx.join?.link()}`)
})

/** An agent that logged in to an account, to which a space delegates; `attestor` confirms the session. */
const logIn = async (attestor?: Signer): Promise<Agent> => {
  const account = Absentee.from({ id: 'did:mailto:example.com:alice' }) as unknown as Signer
  const [space, issuer] = [await ed25519.generate(), await ed25519.generate()]
  const session = await delegate(account, issuer, {
    can: '*',
    resource: 'ucan:*',
    proofs: [await delegate(space, account, { can: '*', resource: space.did() })],
  })
  const attestation =
    attestor &&
    (await delegate(attestor, issuer, {
      can: 'ucan/attest',
      resource: attestor.did(),
      nb: { proof: session.cid },
    }))
  return { issuer, with: space.did(), proofs: attestation ? [session, attestation] : [session] }
}

test('K3: an account acts through sessions that the storefront or a listed login service attests, and through no others', async () => {
  const attestors: [Signer | undefined, boolean][] = [
    [system.signer('storefront'), true],
    [login, true],
    [await ed25519.generate(), false],
    [undefined, false],
  ]
  for (const [attestor, isAllowed] of attestors) {
    const receipt = await offer(storefront(), await randomContent(1_000), { agent: await logIn(attestor) })
    if (isAllowed) expect(receipt.out.ok).toBeDefined()
    else expect(receipt.out.error).toMatchObject({ name: 'Unauthorized' })
  }
})

test('K4: an offer that is addressed to an alias is answered under the alias, and promises tasks of the service itself', async () => {
  const content = await uploadRandom()
  const agent = await createAgent()
  const task = await buildOffer(agent, content, ALIAS)
  const message = await Message.build({ invocations: [task] } as never)
  const blocks = [...message.iterateIPLDBlocks()] as Block[]
  const offered = await post(packCar(message.root as Block, blocks), task.cid)
  expect(offered.out.ok).toEqual({ piece: content.piece })
  expect(offered.issuer?.did()).toBe(ALIAS)
  const plain = await offer(storefront(), content)
  expect(`${offered.fx.join?.link()}`).toBe(`${plain.fx.join?.link()}`)
  const submitted = await awaitReceipt(storefront(), `${effectOf(offered.fx.fork[0]).cid}`)
  expect(submitted.issuer?.did()).toBe(storefront().did)
})

test('K4: an alias issues nothing, and is not a resource', async () => {
  const alias = system.signer('storefront').withDID(ALIAS as DID<'web'>) as unknown as Signer
  const { content, piece } = await randomContent(1_000)
  for (const can of ['filecoin/offer', 'filecoin/accept'] as const) {
    const receipt = await invoke(storefront(), { issuer: alias, can, nb: { content, piece } }).catch(
      (error: Error) => error,
    )
    // The storefront refuses `filecoin/accept` of others, and signs that.
    expect((receipt as Receipt).out.error).toMatchObject({
      name: can === 'filecoin/offer' ? 'Unauthorized' : 'UnsupportedCapability',
    })
  }
})
