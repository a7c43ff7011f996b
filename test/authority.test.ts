import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CBOR, Delegation, invoke } from '@ucanto/core'
import type { Delegation as DelegationView, DID, Invocation, Receipt, Signer } from '@ucanto/interface'
import {
  aggregateOffer,
  dealInfo,
  filecoinOffer,
  type PieceLink,
  pieceOffer,
  revoke,
} from '@w3filecoin/capabilities'
import { type Address, type Local, type LocalOptions, startLocal } from '@w3filecoin/local'
import { buildAggregate } from '@w3filecoin/piece'
import { Authority, configuredPeers, Peer, parseSigner } from '@w3filecoin/runtime'
import {
  bytesOf,
  keyOf,
  linkOf,
  signerOf,
  signersOf,
  somePiece,
  startWebHost,
  type WebHost,
} from '@w3filecoin/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { randomContent, upload } from './content.ts'
import { awaitReceipt } from './receipts.ts'

/**
 * Authorization, over HTTP: one aggregator with storefronts under DIDs of every kind, and the delegations that each
 * service accepts.
 */
const CONFIGURED = 'did:web:configured.example'

const { space, team, agent, stranger, listed } = await signersOf(
  'space',
  'team',
  'agent',
  'stranger',
  'listed',
)
const configured = await signerOf('configured', CONFIGURED)
let atHost: Signer

/** The `did:web` hosts of a storefront that only invokes, of the dealer, and of a principal that is not listed. */
let host: WebHost
let dealerHost: WebHost
let unlistedHost: WebHost
let local: Local
let data: string

const at = (role: string) => local.services[role] as Address

/** Returns the `did:web` of a service that publishes its own keys. */
const webOf = ({ url }: { url: string }): DID => `did:web:${new URL(url).host.replace(':', '%3A')}`

/** Two services act under a `did:web`. The other services know the DIDs, but not the keys. */
const configureWith =
  (configuredKey: string): LocalOptions['configure'] =>
  (role, config, { services }) => {
    const dids = {
      otherStorefront: webOf(services.otherStorefront as Address),
      dealer: dealerHost.did,
    }
    let text = JSON.stringify({ ...config, didWeb: { allowPrivate: true } })
    for (const [name, did] of Object.entries(dids)) text = text.replaceAll(services[name]!.did, did)
    dealerHost.keys = [services.dealer!.did]
    const known = JSON.parse(text)
    if (role === 'aggregator')
      known.storefronts.push(
        { did: listed.did() },
        { did: CONFIGURED, keys: [configuredKey] },
        { did: host.did },
      )
    const self = dids[role as keyof typeof dids]
    return self ? { ...known, self: { did: self, keys: [services[role]!.did] } } : known
  }

const keyNamed = async (name: string) => (await signerOf(name)).did()

beforeAll(async () => {
  host = await startWebHost(await keyNamed('host'))
  atHost = await signerOf('host', host.did)
  dealerHost = await startWebHost()
  unlistedHost = await startWebHost(await keyNamed('stranger'))
  data = await mkdtemp(join(tmpdir(), 'w3filecoin-authority-'))
  local = await startLocal({
    data,
    storefronts: ['otherStorefront'],
    configure: configureWith(configured.toDIDKey())!,
  })
})

afterAll(async () => {
  await local?.stop()
  await Promise.all([host, dealerHost, unlistedHost].map(web => web?.stop()))
  await rm(data, { recursive: true, force: true })
})

/** Returns the DID under which a service acts. */
const didOf = (role: string): DID =>
  role === 'dealer' ? dealerHost.did : role === 'otherStorefront' ? webOf(at(role)) : at(role).did
const serviceSigner = (role: string) => parseSigner(at(role).key, didOf(role))

/** Runs one invocation at a service, and checks that the service signed the receipt. */
const ask = async (role: string, invocation: Invocation): Promise<Receipt> => {
  const did = didOf(role)
  const authority = new Authority({ peers: configuredPeers([{ did, keys: [at(role).did] }]) })
  const [answer] = await new Peer({ did, url: at(role).url }, { authority, fetch }).execute([invocation])
  if (answer?.ok === undefined) throw new Error(answer?.error.message)
  return answer.ok
}

const errorOf = ({ out }: Receipt) => out.error as { name: string; message: string } | undefined

let count = 0
const anyPiece = () => somePiece(`authority ${count++}`)

/** An ability that a service offers to others. */
interface Endpoint {
  role: string
  can: `${string}/${string}`
  /** The principal that may delegate the ability. */
  owner: () => Signer
  nb: () => Promise<Record<string, unknown>>
  /** Caveats of a delegation that no invocation of this file satisfies. */
  narrower: () => Record<string, unknown>
  /** The outcome of an authorized invocation. */
  outcome: object
}

const endpoints: Endpoint[] = [
  {
    role: 'storefront',
    can: filecoinOffer.can,
    owner: () => space,
    nb: async () => ({ content: linkOf(bytesOf(`content ${count++}`, 9)), piece: anyPiece() }),
    narrower: () => ({ piece: anyPiece() }),
    outcome: { ok: { piece: expect.anything() } },
  },
  {
    role: 'aggregator',
    can: pieceOffer.can,
    owner: () => serviceSigner('aggregator'),
    nb: async () => ({ piece: anyPiece(), group: 'group' }),
    narrower: () => ({ group: 'other' }),
    outcome: { ok: { piece: expect.anything() } },
  },
  {
    role: 'dealer',
    can: aggregateOffer.can,
    owner: () => serviceSigner('dealer'),
    nb: async () => {
      const { aggregate, block } = await createAggregate()
      return { aggregate, pieces: block.cid }
    },
    narrower: () => ({ aggregate: anyPiece() }),
    outcome: { ok: { aggregate: expect.anything() } },
  },
  {
    role: 'dealTracker',
    can: dealInfo.can,
    owner: () => serviceSigner('dealTracker'),
    nb: async () => ({ piece: anyPiece() }),
    narrower: () => ({ piece: anyPiece() }),
    outcome: { error: { name: 'DealNotFound' } },
  },
]

const endpointOf = (role: string) => endpoints.find(endpoint => endpoint.role === role) as Endpoint

/** The lists of pieces of the aggregates, by CID. They are sent with the invocation. */
const lists = new Map<string, { cid: never; bytes: Uint8Array }>()

const createAggregate = async (): Promise<{ aggregate: PieceLink; block: { cid: unknown } }> => {
  const { ok } = buildAggregate({ pieces: [anyPiece(), anyPiece()], size: 2 ** 16 })
  if (!ok) throw new Error('The two pieces do not make an aggregate of 64 KiB')
  const block = (await CBOR.write(ok.pieces)) as never as { cid: never; bytes: Uint8Array }
  lists.set(`${block.cid}`, block)
  return { aggregate: ok.link, block }
}

type Options = Partial<Omit<Parameters<typeof invoke>[0], 'capability'>> & { with?: DID }

/** Invokes the ability of an endpoint. */
const call = async ({ role, can, nb, owner }: Endpoint, { with: resource, ...options }: Options = {}) => {
  const caveats = await nb()
  const invocation = invoke({
    issuer: agent,
    audience: { did: () => didOf(role) },
    capability: { can, with: resource ?? owner().did(), nb: caveats as never },
    expiration: Infinity,
    ...options,
  })
  const list = lists.get(`${caveats.pieces}`)
  if (list) invocation.attach(list as never)
  return ask(role, (await invocation.buildIPLDView()) as unknown as Invocation)
}

type DelegateOptions = Partial<Parameters<typeof Delegation.delegate>[0]> & {
  nb?: object
  can?: string
  with?: DID
}

/** Delegates the ability of an endpoint. The default is from its owner to the agent. */
const delegate = ({ can, owner }: Endpoint, { nb, with: resource, ...options }: DelegateOptions = {}) =>
  Delegation.delegate({
    issuer: owner(),
    audience: agent,
    capabilities: [{ can: options.can ?? can, with: resource ?? owner().did(), ...(nb && { nb }) }] as never,
    expiration: Infinity,
    nonce: `${count++}`,
    ...options,
  }) as Promise<DelegationView>

/** Invokes the ability of a service, with the issuer's own DID as resource. */
const callAs = (role: string, issuer: Signer) => call(endpointOf(role), { issuer, with: issuer.did() })

const now = () => Math.floor(Date.now() / 1000)

describe.each(endpoints.map(endpoint => [endpoint.can, endpoint] as const))('U1: %s', (_, endpoint) => {
  test('is accepted with a delegation, and with a chain of delegations', async () => {
    expect((await call(endpoint, { proofs: [await delegate(endpoint)] })).out).toMatchObject(endpoint.outcome)
    const first = await delegate(endpoint, { audience: team })
    const second = await delegate(endpoint, { issuer: team, proofs: [first] })
    expect((await call(endpoint, { proofs: [second] })).out).toMatchObject(endpoint.outcome)
  })

  test('for another audience is refused', async () => {
    const receipt = await call(endpoint, { proofs: [await delegate(endpoint)], audience: stranger })
    expect(errorOf(receipt)).toMatchObject({ name: 'InvalidAudience' })
  })

  test.each<[string, RegExp, () => Promise<Options>]>([
    [
      'after its expiration',
      /expired/,
      async () => ({ proofs: [await delegate(endpoint)], expiration: now() - 10 }),
    ],
    [
      'before its start',
      /not valid before/,
      async () => ({ proofs: [await delegate(endpoint)], notBefore: now() + 3600 }),
    ],
    [
      'without a delegation',
      /The invocation has no proofs\. To invoke it, .* needs a valid delegation of/,
      async () => ({}),
    ],
    [
      'with an expired delegation',
      /expired/,
      async () => ({ proofs: [await delegate(endpoint, { expiration: now() - 10 })] }),
    ],
    [
      'with a delegation before its start',
      /not valid before/,
      async () => ({ proofs: [await delegate(endpoint, { notBefore: now() + 3600 })] }),
    ],
    [
      'with a delegation to another principal',
      /audience/,
      async () => ({ proofs: [await delegate(endpoint, { audience: team })] }),
    ],
    [
      'with a delegation of another ability',
      /A delegation of "ucan\/conclude" on .* does not cover/,
      async () => ({ proofs: [await delegate(endpoint, { can: 'ucan/conclude' })] }),
    ],
    [
      'with a delegation of another owner’s resource',
      /does not cover the invocation: it is for the resource .*, not for/,
      async () => ({ proofs: [await delegate(endpoint, { issuer: stranger, with: stranger.did() })] }),
    ],
    [
      'with a delegation that allows less',
      /does not cover the invocation: it allows only .* as \w+, and the invocation has/,
      async () => ({ proofs: [await delegate(endpoint, { nb: endpoint.narrower() })] }),
    ],
    [
      'with a delegation whose caveat no service can enforce',
      /of .*\/\* has the caveat maxBytes, which no ability that it covers defines/,
      async () => ({
        proofs: [await delegate(endpoint, { can: `${endpoint.can.split('/')[0]}/*`, nb: { maxBytes: 5 } })],
      }),
    ],
    [
      'with a chain whose first delegation has a caveat that no service can enforce',
      /has the caveat maxBytes, which no ability that it covers defines/,
      async () => {
        const first = await delegate(endpoint, { audience: team, can: '*', nb: { maxBytes: 5 } })
        return { proofs: [await delegate(endpoint, { issuer: team, proofs: [first] })] }
      },
    ],
    [
      'with a delegation whose issuer does not own the resource',
      /is from .*, which does not own this resource, and has no proofs/,
      async () => ({ proofs: [await delegate(endpoint, { issuer: stranger })] }),
    ],
    [
      'with a forged delegation',
      /signature/,
      async () => ({
        proofs: [
          await delegate(endpoint, { issuer: parseSigner(await keyOf('stranger'), endpoint.owner().did()) }),
        ],
      }),
    ],
    [
      'with a chain that lacks its first delegation',
      /is from .*, which does not own this resource, and has no proofs/,
      async () => ({ proofs: [await delegate(endpoint, { issuer: team })] }),
    ],
    [
      'with a chain whose first delegation is expired',
      /expired/,
      async () => {
        const first = await delegate(endpoint, { audience: team, expiration: now() - 10 })
        return { proofs: [await delegate(endpoint, { issuer: team, proofs: [first] })] }
      },
    ],
    [
      'with a chain whose first delegation is to another principal',
      /audience/,
      async () => {
        const first = await delegate(endpoint, { audience: stranger })
        return { proofs: [await delegate(endpoint, { issuer: team, proofs: [first] })] }
      },
    ],
    [
      'with a chain that delegates more than it received',
      /does not cover the invocation: it allows only .* as \w+, and the invocation has/,
      async () => {
        const first = await delegate(endpoint, { audience: team, nb: endpoint.narrower() })
        return { proofs: [await delegate(endpoint, { issuer: team, proofs: [first] })] }
      },
    ],
  ])('%s is refused', async (_, reason, make) => {
    const receipt = await call(endpoint, await make())
    expect(errorOf(receipt)).toMatchObject({
      name: 'Unauthorized',
      message: expect.stringMatching(reason),
    })
  })

  test('with a chain that any of its principals revoked is refused from then on; other chains are not affected', async () => {
    const owner = endpoint.owner()
    const other = await delegate(endpoint)
    for (const [by, which] of [
      [owner, 'first'],
      [team, 'first'],
      [team, 'second'],
      [agent, 'second'],
      [owner, 'second'],
    ] as const) {
      const first = await delegate(endpoint, { audience: team })
      const second = await delegate(endpoint, { issuer: team, proofs: [first] })
      expect((await call(endpoint, { proofs: [second] })).out).toMatchObject(endpoint.outcome)
      expect((await revokeAt(endpoint, by, which === 'first' ? [first] : [second, first])).out).toMatchObject(
        {
          ok: { time: expect.any(Number) },
        },
      )
      expect(errorOf(await call(endpoint, { proofs: [second] }))).toMatchObject({
        name: 'Unauthorized',
        message: expect.stringContaining('revoked'),
      })
    }
    expect(errorOf(await revokeAt(endpoint, stranger, [other]))).toMatchObject({
      name: 'UnauthorizedRevocation',
    })
    expect((await call(endpoint, { proofs: [other] })).out).toMatchObject(endpoint.outcome)
  })
})

/** Revokes a delegation at a service. The delegations that it was derived from are sent with the invocation. */
const revokeAt = async ({ role }: Endpoint, issuer: Signer, [ucan, ...above]: DelegationView[]) => {
  const invocation = invoke({
    issuer,
    audience: { did: () => didOf(role) },
    capability: {
      can: revoke.can,
      with: issuer.did(),
      nb: { ucan: ucan!.cid, proof: above.map(({ cid }) => cid) },
    },
  })
  for (const { root } of [ucan!, ...above]) invocation.attach(root)
  return ask(role, (await invocation.buildIPLDView()) as unknown as Invocation)
}

describe('one aggregator', () => {
  const storefronts: [string, () => Signer][] = [
    ['a did:key', () => listed],
    ['a did:web with keys in the configuration', () => configured],
    ['a did:web with keys at its host', () => atHost],
    ['a did:web with keys at the service itself', () => serviceSigner('otherStorefront')],
  ]

  test.each(storefronts)('accepts pieces of a storefront under %s, with its own DID', async (_, signer) => {
    expect((await callAs('aggregator', signer())).out).toMatchObject({ ok: { piece: expect.anything() } })
  })

  test.each([...storefronts, ['a DID that is not listed', () => stranger] as const])(
    "accepts pieces of a storefront under %s with the aggregator's DID only if the aggregator delegated it",
    async (_, signer) => {
      const issuer = signer()
      const endpoint = endpointOf('aggregator')
      expect(errorOf(await call(endpoint, { issuer }))).toMatchObject({ name: 'Unauthorized' })
      const proofs = [await delegate(endpoint, { audience: issuer })]
      expect((await call(endpoint, { issuer, proofs })).out).toMatchObject({
        ok: { piece: expect.anything() },
      })
    },
  )

  test('refuses pieces of principals that are not listed, without a request to their hosts', async () => {
    expect(errorOf(await callAs('aggregator', stranger))).toMatchObject({ name: 'UnknownStorefront' })
    const unlisted = await signerOf('stranger', unlistedHost.did)
    expect(errorOf(await callAs('aggregator', unlisted))).toMatchObject({
      name: 'Unauthorized',
      message: expect.stringContaining(`This service knows no key of ${unlistedHost.did}`),
    })
    expect(unlistedHost.asked).toBe(0)
  })

  test.each(storefronts)(
    'refuses pieces that another principal offers in the name of %s',
    async (_, signer) => {
      const forger = parseSigner(await keyOf('stranger'), signer().did())
      expect(errorOf(await callAs('aggregator', forger))).toMatchObject({
        name: 'Unauthorized',
        message: expect.stringContaining('signature'),
      })
    },
  )
})

test('the dealer accepts aggregates only of a listed aggregator, with its own DID', async () => {
  const outcome = { ok: { aggregate: expect.anything() } }
  expect((await callAs('dealer', serviceSigner('aggregator'))).out).toMatchObject(outcome)
  expect(errorOf(await callAs('dealer', stranger))).toMatchObject({ name: 'UnknownAggregator' })
})

test('the deal tracker answers only listed clients, with their own DIDs, did:web included', async () => {
  const outcome = { error: { name: 'DealNotFound' } }
  expect((await callAs('dealTracker', parseSigner(local.agent.key))).out).toMatchObject(outcome)
  expect((await callAs('dealTracker', serviceSigner('dealer'))).out).toMatchObject(outcome)
  expect(errorOf(await callAs('dealTracker', stranger))).toMatchObject({ name: 'UnknownClient' })
})

test('a piece of a storefront under a did:web reaches a deal of a dealer under another did:web', async () => {
  const content = await randomContent(20_000)
  await upload(local, content, 'other-storefront')
  const invocation = filecoinOffer.invoke({
    issuer: agent,
    audience: { did: () => didOf('otherStorefront') },
    with: agent.did(),
    nb: { content: content.content, piece: content.piece } as never,
    expiration: Infinity,
  })
  const offered = await ask('otherStorefront', (await invocation.delegate()) as never)
  const accepted = await awaitReceipt(at('otherStorefront'), `${offered.fx.join?.link()}`)
  expect(accepted.out).toMatchObject({ ok: { piece: content.piece, aux: { dataType: 0 } } })
  expect(accepted.issuer?.did()).toBe(didOf('otherStorefront'))
})

describe('when the keys of a did:web change', () => {
  const isAccepted = async (issuer: Signer) => (await callAs('aggregator', issuer)).out.ok !== undefined

  test('at its host, the new key is soon accepted and the former refused; other storefronts are not affected', async () => {
    const changed = await signerOf('new', host.did)
    expect(await isAccepted(atHost)).toBe(true)
    host.keys = [changed.toDIDKey()]
    const { asked } = host
    // The aggregator asks the host again when the last answer is 30 s old.
    await expect.poll(() => isAccepted(changed), { timeout: 90_000, interval: 500 }).toBe(true)
    expect(await isAccepted(atHost)).toBe(false)
    expect(host.asked - asked).toBe(1)
    for (const other of [listed, configured, serviceSigner('otherStorefront')])
      expect(await isAccepted(other)).toBe(true)
  })

  test('in the configuration, the new key is accepted and the former refused; other storefronts are not affected', async () => {
    const changed = await signerOf('new', CONFIGURED)
    await local.stop()
    local = await startLocal({
      data,
      storefronts: ['otherStorefront'],
      configure: configureWith(changed.toDIDKey())!,
    })
    expect(await isAccepted(changed)).toBe(true)
    expect(await isAccepted(configured)).toBe(false)
    for (const other of [listed, await signerOf('new', host.did), serviceSigner('otherStorefront')])
      expect(await isAccepted(other)).toBe(true)
  })
})
