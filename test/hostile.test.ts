import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CAR, CBOR, Delegation, invoke, Message } from '@ucanto/core'
import type { Delegation as DelegationView, Invocation, Signer } from '@ucanto/interface'
import { type Local, startLocal } from '@w3filecoin/local'
import { encodeMessage, MESSAGE_LIMITS } from '@w3filecoin/runtime'
import { bytesOf, linkOf, somePiece } from '@w3filecoin/testing'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { AuthorizationOracle } from './fuzz/authorization.ts'
import { type MessageParts, packMessage, unpackMessage } from './fuzz/blocks.ts'
import { type Cast, createCast, createKeys, type Role, recordSamples } from './fuzz/corpus.ts'
import { fuzz } from './fuzz/fuzz.ts'
import { closeConnections, send } from './fuzz/send.ts'

/** Messages that attackers may send. */
const ROLES = ['storefront', 'aggregator', 'dealer', 'dealTracker'] as const

let local: Local
let data: string
let cast: Cast
const crashes: Error[] = []

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), 'w3filecoin-hostile-'))
  await writeFile(join(data, 'keys.json'), JSON.stringify(await createKeys()))
  local = await startLocal({ data, onCrash: error => crashes.push(error) })
  cast = await createCast(local.services, local.agent)
})

afterAll(async () => {
  closeConnections()
  await local?.stop()
  await rm(data, { recursive: true, force: true })
})

const post = (role: Role, body: Uint8Array) =>
  send(local.services[role]!.url, {
    to: role,
    method: 'POST',
    path: '/',
    headers: { 'content-type': 'application/vnd.ipld.car' },
    body,
    hopeless: true,
  })

/** Sends a message. Returns `ok` or the name of the receipt's error, or the HTTP status and text, e.g. `413 …`. */
const sendTo = async (role: Role, body: Uint8Array): Promise<string> => {
  const { status, problem, ...reply } = await post(role, body)
  if (status !== 200) return problem ?? `${status} ${Buffer.from(reply.body)}`
  const { roots, blocks } = CAR.decode(reply.body as never)
  const message = Message.view({ root: roots[0]!.cid as never, store: blocks as never })
  const [receipt] = [...message.receipts.values()]
  const error = receipt!.out.error as { name?: string } | undefined
  return error?.name ?? 'ok'
}

const buildInvocation = async (role: Role, can: string, options: object = {}) =>
  (await invoke({
    issuer: cast.agent,
    audience: cast[role],
    capability: { can: can as `${string}/${string}`, with: cast.agent.did(), nb: {} },
    expiration: Infinity,
    ...options,
  }).buildIPLDView()) as unknown as Invocation
const messageOf = async (...invocations: Invocation[]) => encodeMessage({ invocations })

test('U2: an ability that a service does not define has no handler, even if it names an inherited property', async () => {
  const names = [
    'constructor/assign',
    'toString/call',
    '__proto__/x',
    'hasOwnProperty/call',
    'valueOf/constructor',
    'filecoin/offer/call',
    'piece/*',
    'nothing/known',
  ]
  for (const role of ROLES)
    for (const can of names)
      expect(await sendTo(role, await messageOf(await buildInvocation(role, can))), `${role} ${can}`).toBe(
        'HandlerNotFound',
      )
  // This ability belongs to another service.
  expect(
    await sendTo('dealTracker', await messageOf(await buildInvocation('dealTracker', 'filecoin/offer'))),
  ).toBe('HandlerNotFound')
})

let count = 0
const delegate = (issuer: Signer, audience: Signer, proofs: DelegationView[] = [], copies = 1) =>
  Delegation.delegate({
    issuer,
    audience,
    proofs,
    capabilities: Array.from({ length: copies }, () => ({ can: '*', with: cast.space.did() })) as never,
    expiration: Infinity,
    nonce: `${count++}`,
  }) as Promise<DelegationView>
const times = <T>(number: number, make: (n: number) => Promise<T>) =>
  Promise.all(Array.from({ length: number }, (_, n) => make(n)))

/** Builds a message that depends on these proofs. */
const messageWith = async (proofs: DelegationView[]) =>
  messageOf(
    await buildInvocation('storefront', 'filecoin/info', {
      capability: {
        can: 'filecoin/info',
        with: cast.space.did(),
        nb: { piece: somePiece('hostile') },
      },
      proofs,
    }),
  )

test('U3: too many, too deep and unrelated proofs are refused before they are verified', async () => {
  const { space, team, stranger, agent } = cast
  const deep = async (levels: number) => {
    let last = await delegate(space, team)
    for (let n = 2; n < levels; n++) last = await delegate(team, team, [last])
    return [await delegate(team, agent, [last])]
  }
  /** Keep `width` small: building the delegations also visits every path. */
  const diamond = async (levels: number, width: number) => {
    let level = await times(width, () => delegate(stranger, team))
    for (let n = 2; n < levels; n++) level = await times(width, () => delegate(team, team, level))
    return [await delegate(team, agent, level)]
  }
  const many = async (copies: number) => {
    const first = await delegate(stranger, team, [], copies)
    return [await delegate(team, agent, [await delegate(team, team, [first], copies)], copies)]
  }
  const attestations = (number: number) =>
    times(number, n => delegate(stranger.withDID(`did:mailto:example.com:${n}`) as Signer, agent)).then(
      proofs =>
        Promise.all(
          proofs.map(
            ({ cid }, n) =>
              Delegation.delegate({
                issuer: stranger.withDID(`did:mailto:example.com:${n}`) as Signer,
                audience: agent,
                capabilities: [
                  { can: 'ucan/attest', with: cast.storefront.did(), nb: { proof: cid } },
                ] as never,
                expiration: Infinity,
              }) as Promise<DelegationView>,
          ),
        ),
    )
  const sendWith = async (proofs: Promise<DelegationView[]>) =>
    sendTo('storefront', await messageWith(await proofs))

  // Within the bounds, the proofs are verified: the chain authorizes the issuer, the others do not.
  expect(await sendWith(deep(MESSAGE_LIMITS.chain.depth))).toBe('RecordNotFound')
  expect(await sendWith(deep(MESSAGE_LIMITS.chain.depth + 1))).toBe('TooManyProofs')
  expect(await sendWith(diamond(4, 2))).toBe('Unauthorized')
  expect(await sendWith(diamond(MESSAGE_LIMITS.chain.depth, 3))).toBe('TooManyProofs')
  expect(await sendWith(many(2))).toBe('Unauthorized')
  expect(await sendWith(many(40))).toBe('TooManyProofs')
  expect(await sendWith(attestations(2))).toBe('Unauthorized')
  // Too many to check all together: each is checked alone.
  expect(await sendWith(attestations(9))).toBe('Unauthorized')
  expect(await sendWith(times(1_000, () => delegate(stranger, agent)))).toBe('Unauthorized')
})

test('U3: a message that exceeds a bound is refused with 413, a malformed message with 400, a bad invocation by name', async () => {
  const one = await buildInvocation('storefront', 'x/y')
  const { roots, blocks } = await unpackMessage([one])
  const car = (blocks: MessageParts['blocks'], root = roots[0]!) => packMessage({ roots: [root], blocks })
  const invocations = await times(MESSAGE_LIMITS.invocations + 1, n =>
    buildInvocation('storefront', 'x/y', { nonce: `${n}` }),
  )
  const stray = Array.from({ length: MESSAGE_LIMITS.blocks + 1 }, (_, n) => bytesOf(n, 8)).map(bytes => ({
    cid: linkOf(bytes) as CID,
    bytes,
  }))
  const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)])
  const holding = (nb: object) =>
    buildInvocation('storefront', 'x/y', { capability: { can: 'x/y', with: cast.agent.did(), nb } }).then(
      messageOf,
    )
  const other = bytesOf('other', 30)
  const named = (code: number, digest: Uint8Array) => CID.createV1(0x55, createDigest(code, digest))

  const tooLarge: Record<string, Uint8Array> = {
    bytes: new Uint8Array(MESSAGE_LIMITS.bytes + 1),
    blocks: car([...blocks, ...stray]),
    invocations: await messageOf(...invocations),
  }
  const bad: Record<string, [Uint8Array, string]> = {
    nesting: [await holding({ deep: nested(500) }), 'UCANTooLarge'],
    text: [await holding({ text: 'x'.repeat(20_000) }), 'UCANTooLarge'],
    link: [await holding({ link: named(0, new Uint8Array(100_000)) }), 'UCANTooLarge'],
    'a UCAN': [await holding({ many: Array.from({ length: 80_000 }, (_, n) => n) }), 'UCANTooLarge'],
    'no invocation': [car(blocks.filter(({ cid }) => `${cid}` !== `${one.cid}`)), 'UCANNotFound'],
    'another hash': [
      car([...blocks, { cid: named(0x13, new Uint8Array(64)), bytes: other }]),
      'HandlerNotFound',
    ],
    'an identity hash': [car([...blocks, { cid: named(0, other), bytes: other }]), 'HandlerNotFound'],
  }
  const malformed: Record<string, Uint8Array> = {
    nothing: new Uint8Array(),
    'a header without end': new Uint8Array(50).fill(0xff),
    'overlapping sections': Buffer.concat([car([]), new Uint8Array(4_000_000).fill(1)]),
    'an identity hash of other bytes': car([...blocks, { cid: named(0, other), bytes: bytesOf('o', 30) }]),
    'a CID of a megabyte': car([...blocks, { cid: named(0x12, new Uint8Array(1_000_000)), bytes: other }]),
    'a wrong name': car([...blocks, { cid: linkOf(bytesOf('this', 9)) as CID, bytes: other }]),
    'a root that is not there': car(blocks, linkOf(other) as CID),
  }
  for (const [name, [body, error]] of Object.entries(bad))
    expect(await sendTo('storefront', body), name).toBe(error)
  for (const [name, body] of Object.entries(tooLarge))
    expect(await sendTo('storefront', body), name).toMatch(/^413 .+ at most/)
  for (const [name, body] of Object.entries(malformed))
    expect(await sendTo('storefront', body), name).toMatch(/^400 /)
})

test('U3: a signature of another key authorizes nothing', async () => {
  const { agent, stranger } = cast
  const forger = Object.create(agent, { sign: { value: (bytes: Uint8Array) => stranger.sign(bytes) } })
  const forged = await buildInvocation('dealTracker', 'deal/info', { issuer: forger })
  const data = CBOR.decode(forged.root.bytes as never) as object
  const signatures = [
    (data as { s: Uint8Array }).s,
    new Uint8Array(),
    new Uint8Array([0xed, 0xa1, 0x03, 0x40, 1, 2, 3]),
    new Uint8Array([0xed, 0xa1, 0x03, 0x40, ...new Uint8Array(64)]),
    new Uint8Array([0xed, 0xa1, 0x03, 0xff, 0xff, 0xff, 0xff, 0x0f]),
  ]
  for (const s of signatures) {
    const block = await CBOR.write({ ...data, s })
    const root = await CBOR.write({ 'ucanto/message@7.0.0': { execute: [block.cid] } })
    const body = CAR.encode({ roots: [root], blocks: new Map([[`${block.cid}`, block]]) } as never)
    expect(await sendTo('dealTracker', body)).toMatch(/^(Unauthorized|MalformedUCAN)$/)
  }
})

test('U3: malformed paths and impossible receipt CIDs return 4xx', async () => {
  const paths = [
    '/%E0%A4%A',
    '//',
    '/receipt/%E0%A4%A',
    '/receipt/x',
    `/receipt/${'b'.repeat(9_000)}`,
    '/receipt/%00',
  ]
  for (const role of ROLES)
    for (const path of paths) {
      const reply = await send(local.services[role]!.url, {
        to: role,
        method: 'GET',
        path,
        headers: {},
        hopeless: true,
      })
      expect(reply.status, path).toBeGreaterThanOrEqual(400)
      expect(reply.status, path).toBeLessThan(500)
    }
})

test('U3: the oracle of the fuzzer objects to unauthorized invocations, and only to them', async () => {
  const samples = await recordSamples(cast)
  const oracle = new AuthorizationOracle(cast)
  const objection = async (to: Role, invocation: Invocation) => {
    const { blocks } = await unpackMessage([invocation])
    return oracle.findObjection(
      `${invocation.cid}`,
      new Map(blocks.map(({ cid, bytes }) => [`${cid}`, bytes])),
      to,
    )
  }
  for (const { name, to, invocation } of samples) {
    if (invocation.audience.did() !== cast[to].did()) {
      // Draft 1 promises tasks to another service.
      expect(await objection(to, invocation), name).toContain('another audience')
      continue
    }
    expect(await objection(to, invocation), name).toBeUndefined()
    expect(await objection(to === 'dealer' ? 'storefront' : 'dealer', invocation), name).toContain(
      'another audience',
    )
    const [capability] = invocation.capabilities
    const stolen = { capability, audience: invocation.audience, issuer: cast.stranger }
    expect(await objection(to, await buildInvocation(to, 'x/y', stolen)), name).toBe('no proof delegates it')
  }
})

test('U3: the oracle of the fuzzer objects to delegations with a caveat that no covered ability defines', async () => {
  const { space, agent, storefront } = cast
  const { invocation } = (await recordSamples(cast)).find(({ name }) => name === 'filecoin/info')!
  const findObjection = async (can: string, nb: object) => {
    const proof = await Delegation.delegate({
      issuer: space,
      audience: agent,
      capabilities: [{ can, with: space.did(), nb }] as never,
      expiration: Infinity,
    })
    const task = await buildInvocation('storefront', 'filecoin/info', {
      capability: invocation.capabilities[0],
      proofs: [proof],
    })
    const { blocks } = await unpackMessage([task])
    const sent = new Map(blocks.map(({ cid, bytes }) => [`${cid}`, bytes]))
    return new AuthorizationOracle(cast).findObjection(`${task.cid}`, sent, 'storefront')
  }
  expect(storefront.did()).toBe(invocation.audience.did())
  expect(await findObjection('filecoin/*', { maxBytes: 5 })).toBe('no proof delegates it')
  expect(await findObjection('filecoin/*', { group: 'local' })).toBe('no proof delegates it')
  expect(await findObjection('*', { group: 'local' })).toBeUndefined()
})

test('U3: 600 mutated messages, the same in every run, cause no finding', async () => {
  const report = await fuzz({ local, seed: 20_261_120, indexes: Array(600).keys() })
  expect(report.findings).toEqual([])
  expect(crashes).toEqual([])
  const names = [...report.classes.values()].flatMap(classes => [...classes.keys()])
  expect(names).toEqual(
    expect.arrayContaining(['200 ok', '200 Unauthorized', '200 MalformedUCAN', '400', '404']),
  )
})
