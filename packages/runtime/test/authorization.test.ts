import * as CBOR from '@ipld/dag-cbor'
import { CBOR as cbor, CAR as codec, Delegation, invoke } from '@ucanto/core'
import type {
  Capability,
  Delegation as DelegationView,
  DID,
  Invocation,
  Receipt,
  Signer,
} from '@ucanto/interface'
import { Absentee } from '@ucanto/principal'
import { capability, Schema } from '@ucanto/validator'
import { covers, filecoinOffer, revoke } from '@w3filecoin/capabilities'
import {
  ask,
  bytesOf,
  call,
  linkOf,
  messageIn,
  p256Signer,
  rsaSigner,
  signersOf,
  startWorld,
  type World,
} from '@w3filecoin/testing'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  Authority,
  createHttpApp,
  provide,
  type ReceiptLog,
  type RevocationRecord,
  receiptIn,
  Server,
  type Service,
} from '../src/index.ts'

/** The checks of invocations and their proofs by a service: kinds of keys, bad proofs, accounts, aliases. */

const { service, space, team, agent, stranger, login } = await signersOf(
  'service',
  'space',
  'team',
  'agent',
  'stranger',
  'login',
)
const [rsa, p256] = [await rsaSigner(), await p256Signer()]
const LOGIN: DID = 'did:web:login.example'
const ALIAS: DID = 'did:web:old.example'

const say = capability({
  can: 'test/say',
  with: Schema.did(),
  nb: Schema.struct({ word: Schema.text() }),
  derives: covers,
})

let world: World
let api: Service['api']
const runs: { word: string; nonce: string | undefined }[] = []

beforeAll(async () => {
  world = await startWorld()
  const aws = await world.provide({
    service: 'authorization',
    api: { timeout: 1, memory: 128, uses: {} },
    tables: {
      revocation: { fields: { ucan: 'string', by: 'string' }, key: { hash: 'ucan', range: 'by' } },
    },
    queues: {},
    buckets: {},
    schedules: {},
  })
  const authority = new Authority({
    revocations: { table: aws.table<RevocationRecord>('revocation'), now: () => 77 },
    attestors: [{ did: LOGIN, keys: [login.did() as DID<'key'>] }],
    aliases: [ALIAS, service.did()],
  })
  const log = () => {}
  const receipts = {} as ReceiptLog
  const handler = provide(say, async ({ capability, invocation }) => {
    runs.push({ word: capability.nb.word, nonce: invocation.nonce })
    return { out: { ok: { said: capability.nb.word } } }
  })
  const server = new Server({
    id: service.withDID('did:web:new.example'),
    authority,
    handlers: [handler, provide(filecoinOffer, async () => ({ out: { ok: {} } }))],
    receipts,
    log,
  })
  api = createHttpApp({ server, receipts, name: 'authorization', log })
})
afterAll(() => world?.stop())

let count = 0
const delegate = (
  issuer: Signer,
  audience: { did(): DID },
  {
    proofs = [],
    resource = space.did(),
    can = 'test/*',
    expiration = Infinity,
    nb,
  }: { proofs?: DelegationView[]; resource?: string; can?: string; expiration?: number; nb?: object } = {},
) =>
  Delegation.delegate({
    issuer,
    audience: audience as never,
    proofs,
    capabilities: [{ can, with: resource, ...(nb && { nb }) }] as never,
    expiration,
    nonce: `${count++}`,
  }) as Promise<DelegationView>

const speak = (
  word: string,
  options: { issuer?: Signer; resource?: string; proofs?: unknown[]; audience?: DID; nonce?: string } = {},
) => {
  const {
    issuer = agent,
    resource = space.did(),
    proofs = [],
    audience = 'did:web:new.example',
    nonce,
  } = options
  return invoke({
    issuer,
    audience: { did: () => audience } as never,
    capability: { can: 'test/say', with: resource as DID, nb: { word } },
    proofs: proofs as never,
    expiration: Infinity,
    ...(nonce === undefined ? {} : { nonce }),
  })
}
const errorOf = ({ out }: Receipt) => out.error as { name: string; message: string } | undefined

/** Posts a message with these links to invocations and these blocks. */
const post = async (links: unknown[], blocks: { cid: unknown; bytes: Uint8Array }[]) => {
  const root = await cbor.write({ 'ucanto/message@7.0.0': { execute: links } })
  const map = new Map(blocks.map(block => [`${block.cid}`, block]))
  const response = await api.request('/', {
    method: 'POST',
    headers: { 'content-type': 'application/vnd.ipld.car' },
    body: codec.encode({ roots: [root], blocks: map } as never) as never,
  })
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`)
  const message = messageIn(new Uint8Array(await response.arrayBuffer()))
  return links.map(link => receiptIn(message, `${link}`)!)
}
const blocksOf = (view: { iterateIPLDBlocks(): Iterable<unknown> }) =>
  [...view.iterateIPLDBlocks()] as { cid: unknown; bytes: Uint8Array }[]

/** Writes a UCAN with changed fields, with its old signature. */
const rewrite = (
  view: { root: { bytes: Uint8Array } },
  change: (model: Record<string, unknown>) => object,
) => {
  const bytes = CBOR.encode(change(CBOR.decode(view.root.bytes as never)))
  return { cid: linkOf(bytes, 0x71), bytes }
}

describe('keys', () => {
  const kinds: [string, Signer][] = [
    ['Ed25519', agent],
    ['RSA', rsa],
    ['P-256', p256],
  ]

  it.each(kinds)('an agent with a key of kind %s invokes for itself', async (_, issuer) => {
    expect((await ask(api, speak('self', { issuer, resource: issuer.did() }))).out.ok).toEqual({
      said: 'self',
    })
  })

  it.each(
    kinds.flatMap(([from, spaceKey]) =>
      kinds.map(([to, agentKey]) => [from, to, spaceKey, agentKey] as const),
    ),
  )('a chain leads from a space of kind %s to an agent of kind %s', async (_, __, spaceKey, agentKey) => {
    const resource = spaceKey.did()
    const [first, other] = kinds.map(([, key]) => key) as [Signer, Signer]
    const chain = await delegate(first, other, {
      resource,
      proofs: [await delegate(spaceKey, first, { resource })],
    })
    const proofs = [await delegate(other, agentKey, { resource, proofs: [chain] })]
    const receipt = await ask(api, speak('chain', { issuer: agentKey, resource, proofs }))
    expect(receipt.out.ok).toEqual({ said: 'chain' })
  })

  it.each(kinds)('a signature of another key of kind %s authorizes nothing', async (_, key) => {
    const forged = Object.create(stranger, { did: { value: () => key.did() } }) as Signer
    const receipt = await ask(api, speak('forged', { issuer: forged, resource: key.did() }))
    expect(errorOf(receipt)?.name).toBe('Unauthorized')
  })

  it('of another kind are refused by name, for that invocation alone', async () => {
    const good = await speak('good', { resource: agent.did() }).buildIPLDView()
    const bad = rewrite(good, model => ({
      ...model,
      iss: Uint8Array.from([0xe7, 0x01, 2, ...bytesOf(1, 32)]),
    }))
    const [refused, fine] = await post([bad.cid, good.cid], [...blocksOf(good), bad])
    expect(errorOf(refused!)).toMatchObject({
      name: 'UnsupportedKey',
      message: expect.stringMatching(/secp256k1.*Ed25519, RSA, P-256/s),
    })
    expect(fine!.out.ok).toEqual({ said: 'good' })
  })
})

describe('a message', () => {
  it('of ten invocations, five of them bad in five ways, has five results and five named errors', async () => {
    const good = await Promise.all(
      [1, 2, 3, 4, 5].map(n => speak(`good ${n}`, { resource: agent.did() }).buildIPLDView()),
    )
    const [one] = good as unknown as [Invocation, ...Invocation[]]
    const bytes = bytesOf('noise', 60)
    const noise = { cid: linkOf(bytes, 0x71), bytes }
    const large = rewrite(one, model => ({
      ...model,
      att: [{ can: 'test/say', with: agent.did(), nb: { word: 'x'.repeat(2_000) } }],
    }))
    const key = rewrite(one, model => ({
      ...model,
      iss: Uint8Array.from([0x81, 0x24, 2, ...bytesOf(1, 48)]),
    }))
    const hashed = {
      cid: CID.createV1(0x71, createDigest(0x1e, bytesOf('blake3', 32))),
      bytes: one.root.bytes,
    }
    const missing = linkOf(bytesOf('missing', 9), 0x71)
    const bad = [
      [noise.cid, 'MalformedUCAN'],
      [large.cid, 'UCANTooLarge'],
      [key.cid, 'UnsupportedKey'],
      [hashed.cid, 'UnsupportedHash'],
      [missing, 'UCANNotFound'],
    ] as const
    const links = bad.flatMap(([cid], n) => [cid, good[n]!.cid])
    const receipts = await post(links, [...good.flatMap(blocksOf), noise, large, key, hashed])
    const results = receipts.map(({ out }) => (out.error as Error | undefined)?.name ?? out.ok)
    expect(results).toEqual(bad.flatMap(([, name], n) => [name, { said: `good ${n + 1}` }]))
    for (const [n, [cid]] of bad.entries()) {
      expect(`${receipts[2 * n]!.ran.link()}`).toBe(`${cid}`)
      expect((await receipts[2 * n]!.verifySignature(service.verifier)).ok).toBeDefined()
    }
  })

  it('with an invocation whose proofs cost too much runs the other ones, and the error has no blocks of proofs', async () => {
    let level = await Promise.all([1, 2].map(() => delegate(space, team)))
    for (let n = 0; n < 8; n++)
      level = await Promise.all([1, 2].map(() => delegate(team, n === 7 ? agent : team, { proofs: level })))
    const costly = await speak('costly', { proofs: level }).buildIPLDView()
    const good = await speak('good', { resource: agent.did() }).buildIPLDView()
    const blocks = new Map(blocksOf(costly).map(block => [`${block.cid}`, block]))
    const [refused, fine] = await post([costly.cid, good.cid], [...blocks.values(), ...blocksOf(good)])
    expect(errorOf(refused!)).toMatchObject({
      name: 'TooManyProofs',
      message: expect.stringContaining('signature checks'),
    })
    expect(blocksOf(refused!).map(({ cid }) => `${cid}`)).not.toContain(`${level[0]!.cid}`)
    expect(fine!.out.ok).toEqual({ said: 'good' })
  })

  it('gives each invocation its own share of the checks', async () => {
    const chains = await Promise.all(
      Array.from({ length: 60 }, async () => [await delegate(space, agent), await delegate(space, agent)]),
    )
    const receipts = await call(api, ...chains.map((proofs, n) => speak(`${n}`, { proofs })))
    expect(receipts.filter(({ out }) => out.ok)).toHaveLength(60)
  })

  it('may have an empty nonce, which is no nonce', async () => {
    const empty = await speak('empty', { resource: agent.did() }).buildIPLDView()
    const block = rewrite(empty, model => ({ ...model, nnc: '' }))
    const [receipt] = await post([block.cid], [block])
    expect(receipt!.out.ok).toEqual({ said: 'empty' })
    expect(runs.at(-1)).toEqual({ word: 'empty', nonce: undefined })
  })
})

describe('beside a valid chain', () => {
  const chain = async () => delegate(team, agent, { proofs: [await delegate(space, team)] })

  const bad: [
    string,
    RegExp,
    () => Promise<{ link: unknown; blocks: { cid: unknown; bytes: Uint8Array }[] }>,
  ][] = [
    ['is missing', /is missing/, async () => ({ link: (await delegate(space, agent)).cid, blocks: [] })],
    [
      'is not a UCAN',
      /is not a UCAN/,
      async () => {
        const bytes = bytesOf('not a UCAN', 80)
        const cid = linkOf(bytes, 0x71)
        return { link: cid, blocks: [{ cid, bytes }] }
      },
    ],
    [
      'has an issuer of an unsupported kind',
      /secp256k1/,
      async () => {
        const block = rewrite(await delegate(space, agent), model => ({
          ...model,
          iss: Uint8Array.from([0xe7, 0x01, 2, ...bytesOf(1, 32)]),
        }))
        return { link: block.cid, blocks: [block] }
      },
    ],
    [
      'has a hash function that is not known',
      /hash function 0x1e/,
      async () => {
        const { bytes } = (await delegate(space, agent)).root
        const cid = CID.createV1(0x71, createDigest(0x1e, bytesOf(1, 32)))
        return { link: cid, blocks: [{ cid, bytes }] }
      },
    ],
    [
      'has a signature of another key',
      /signature/,
      async () => {
        const forged = Object.create(stranger, { did: { value: () => space.did() } }) as Signer
        const proof = await delegate(forged, agent)
        return { link: proof.cid, blocks: blocksOf(proof) }
      },
    ],
    [
      'has expired',
      /expired/,
      async () => {
        const proof = await delegate(space, agent, { expiration: 1 })
        return { link: proof.cid, blocks: blocksOf(proof) }
      },
    ],
    [
      'is for another audience',
      /audience/,
      async () => {
        const proof = await delegate(space, team)
        return { link: proof.cid, blocks: blocksOf(proof) }
      },
    ],
    [
      'is for another resource, by an RSA key',
      /does not cover|needs a valid delegation/,
      async () => {
        const proof = await delegate(rsa, agent, { resource: rsa.did() })
        return { link: proof.cid, blocks: blocksOf(proof) }
      },
    ],
    [
      'has the signature of an absent account',
      /no key/,
      async () => {
        const proof = await delegate(
          Absentee.from({ id: 'did:mailto:example.com:bob' }) as unknown as Signer,
          agent,
        )
        return { link: proof.cid, blocks: blocksOf(proof) }
      },
    ],
    [
      'was revoked',
      /revoked/,
      async () => {
        const proof = await delegate(space, agent)
        expect((await withdraw(space, proof)).out.ok).toBeDefined()
        return { link: proof.cid, blocks: blocksOf(proof) }
      },
    ],
  ]

  it.each(bad)('a proof that %s does no harm, in front of it or behind it', async (_, reason, make) => {
    const { link, blocks } = await make()
    const good = await chain()
    for (const links of [
      [link, good.cid],
      [good.cid, link],
    ]) {
      const task = await speak('hi', { proofs: links }).buildIPLDView()
      const [receipt] = await post([task.cid], [task.root, ...blocksOf(good), ...blocks] as never)
      expect(receipt!.out).toEqual({ ok: { said: 'hi' } })
    }
    const alone = await speak('alone', { proofs: [link] }).buildIPLDView()
    const [refused] = await post([alone.cid], [alone.root, ...blocks] as never)
    expect(errorOf(refused!)).toMatchObject({ name: 'Unauthorized', message: expect.stringMatching(reason) })
  })

  it('fifty unneeded proofs and a hundred expired ones do no harm', async () => {
    const unneeded = await Promise.all(
      Array.from({ length: 150 }, (_, n) =>
        n % 3 === 0
          ? delegate(space, agent, { can: 'other/thing' })
          : delegate(space, agent, { expiration: 1 }),
      ),
    )
    const receipt = await ask(api, speak('hi', { proofs: [...unneeded, await chain()] }))
    expect(receipt.out).toEqual({ ok: { said: 'hi' } })
  })

  it('its own delegations may be listed once more, where they do not fit', async () => {
    const first = await delegate(space, team)
    const second = await delegate(team, agent, { proofs: [first] })
    const unneeded = await Promise.all(
      Array.from({ length: 120 }, () => delegate(space, agent, { can: 'other/thing' })),
    )
    for (const proofs of [
      [first, second],
      [first, ...unneeded, second],
    ]) {
      const receipt = await ask(api, speak('hi', { proofs }))
      expect(receipt.out).toEqual({ ok: { said: 'hi' } })
    }
  })

  it('ten revoked ones do no harm', async () => {
    const revoked = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const proof = await delegate(space, agent)
        await withdraw(space, proof)
        return proof
      }),
    )
    const receipt = await ask(api, speak('hi', { proofs: [...revoked, await chain()] }))
    expect(receipt.out).toEqual({ ok: { said: 'hi' } })
  })
})

const withdraw = (issuer: Signer, ucan: DelegationView) => {
  const invocation = invoke({
    issuer,
    audience: { did: () => 'did:web:new.example' } as never,
    capability: { can: revoke.can, with: issuer.did(), nb: { ucan: ucan.cid } } as Capability,
  })
  invocation.attach(ucan.root)
  return ask(api, invocation as unknown as Invocation)
}

describe('a revoked delegation', () => {
  const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  /** A P-256 signature (r, s) is valid as (r, N - s) too. */
  const otherSignature = (signature: Uint8Array) => {
    const s = N - BigInt(`0x${Buffer.from(signature.subarray(-32)).toString('hex')}`)
    return Buffer.concat([signature.subarray(0, -32), Buffer.from(s.toString(16).padStart(64, '0'), 'hex')])
  }

  it.each<[string, Signer, (model: Record<string, unknown>) => object]>([
    [
      'with bytes behind the signature',
      space,
      model => ({ ...model, s: Buffer.concat([model.s as Uint8Array, Buffer.from([1])]) }),
    ],
    ['with another field', space, model => ({ ...model, more: 1 })],
    ['with an empty list of facts', space, model => ({ ...model, fct: [] })],
    [
      'with the other signature of a P-256 key',
      p256,
      model => ({ ...model, s: otherSignature(model.s as Uint8Array) }),
    ],
  ])('authorizes nothing in another form either: %s', async (_, issuer, change) => {
    const resource = issuer.did()
    const proof = await delegate(issuer, agent, { resource })
    const copy = rewrite(proof, change)
    expect(`${copy.cid}`).not.toBe(`${proof.cid}`)
    const use = async () => {
      const task = await speak('copy', { resource, proofs: [copy.cid] }).buildIPLDView()
      return (await post([task.cid], [task.root as never, copy]))[0]!
    }
    expect((await use()).out.ok, 'before').toEqual({ said: 'copy' })
    expect((await withdraw(issuer, proof)).out.ok).toBeDefined()
    expect(errorOf(await use())).toMatchObject({
      name: 'Unauthorized',
      message: expect.stringContaining('revoked'),
    })
  })
})

describe('accounts', () => {
  const account = Absentee.from({ id: 'did:mailto:example.com:alice' }) as unknown as Signer
  const attest = (issuer: Signer, proof: DelegationView, options: { resource?: string } = {}) =>
    delegate(issuer, agent, {
      can: 'ucan/attest',
      resource: options.resource ?? issuer.did(),
      nb: { proof: proof.cid },
    })
  /** A space delegates to an account, which logged in and delegates to an agent. */
  const session = async () =>
    delegate(account, agent, {
      can: '*',
      resource: 'ucan:*',
      proofs: [await delegate(space, account, { can: '*' })],
    })
  const self = service.withDID('did:web:new.example')

  it.each<[string, Signer, string | undefined]>([
    ['the service itself', self, undefined],
    ['a listed login service', login.withDID(LOGIN), undefined],
    ['a login service that is not listed', login.withDID('did:web:other.example'), 'Unauthorized'],
    ['a stranger', stranger, 'Unauthorized'],
    ['a stranger in the name of the login service', stranger.withDID(LOGIN), 'Unauthorized'],
    ['an alias of the service', service.withDID(ALIAS), 'Unauthorized'],
  ])('act if %s attests their delegation: %s', async (_, attestor, error) => {
    const proof = await session()
    const receipt = await ask(api, speak('hi', { proofs: [proof, await attest(attestor, proof)] }))
    expect(errorOf(receipt)?.name).toBe(error)
  })

  it('do not act without an attestation, or with that of another delegation', async () => {
    const [proof, other] = [await session(), await session()]
    expect(errorOf(await ask(api, speak('hi', { proofs: [proof] })))?.name).toBe('Unauthorized')
    const receipt = await ask(api, speak('hi', { proofs: [proof, await attest(self, other)] }))
    expect(errorOf(receipt)?.name).toBe('Unauthorized')
  })

  it('act for an agent that kept the sessions of many logins', async () => {
    for (const attestor of [self, login.withDID(LOGIN)]) {
      const sessions = await Promise.all(Array.from({ length: 12 }, session))
      const attestations = await Promise.all(sessions.map(proof => attest(attestor, proof)))
      const receipt = await ask(api, speak('hi', { proofs: [...sessions, ...attestations] }))
      expect(receipt.out).toEqual({ ok: { said: 'hi' } })
    }
  })
})

describe('an alias', () => {
  it.each<[string, DID]>([
    ['a former DID', ALIAS],
    ['its did:key', service.did() as DID],
  ])('is accepted as audience, and issues the receipt: %s', async (_, audience) => {
    const receipt = await ask(api, speak('alias', { audience, resource: agent.did() }))
    expect(receipt.out.ok).toEqual({ said: 'alias' })
    expect(receipt.issuer?.did()).toBe(audience)
    const verifier = audience.startsWith('did:key:')
      ? service.verifier
      : service.withDID(audience as never).verifier
    expect((await receipt.verifySignature(verifier)).ok).toBeDefined()
  })

  it('issues no invocations, and is not a resource', async () => {
    const issued = await ask(api, speak('hi', { issuer: service.withDID(ALIAS), resource: ALIAS }))
    expect(errorOf(issued)?.name).toBe('Unauthorized')
    const receipt = await ask(
      api,
      speak('hi', {
        resource: ALIAS,
        proofs: [await delegate(service.withDID('did:web:new.example'), agent, { resource: ALIAS })],
      }),
    )
    expect(errorOf(receipt)?.name).toBe('Unauthorized')
  })

  it('of another service is not accepted', async () => {
    const receipt = await ask(
      api,
      speak('hi', { audience: 'did:web:foreign.example', resource: agent.did() }),
    )
    expect(errorOf(receipt)?.name).toBe('InvalidAudience')
    expect(receipt.issuer?.did()).toBe('did:web:new.example')
  })

  it('is named in the DID document', async () => {
    const document = (await (await api.request('/.well-known/did.json')).json()) as { alsoKnownAs: string[] }
    expect(document.alsoKnownAs).toEqual([ALIAS, service.did()])
  })
})
