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
 * Who may do what, from outside: one aggregator with storefronts under DIDs of every kind, and what each service makes
 * of delegations.
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

/** Of a storefront that only calls; of the dealer; of a principal that nobody lists. */
let host: WebHost
let dealerHost: WebHost
let unlistedHost: WebHost
let local: Local
let data: string

const at = (role: string) => local.services[role] as Address

/** The storefront that publishes its keys itself. */
const webOf = ({ url }: { url: string }): DID => `did:web:${new URL(url).host.replace(':', '%3A')}`

/** Two of the services act under a `did:web`. The others know them by it, without their keys. */
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

/** What a service goes by. */
const didOf = (role: string): DID =>
  role === 'dealer' ? dealerHost.did : role === 'otherStorefront' ? webOf(at(role)) : at(role).did
const serviceSigner = (role: string) => parseSigner(at(role).key, didOf(role))

/** Runs one invocation at a service. Its answer is signed by that service. */
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

/** What may be asked of a service by others, and what it answers to whom it lets in. */
interface Door {
  role: string
  can: `${string}/${string}`
  /** Who may delegate it. */
  owner: () => Signer
  nb: () => Promise<Record<string, unknown>>
  /** A capability that allows less than any invocation here asks for. */
  narrower: () => Record<string, unknown>
  welcome: object
}

const doors: Door[] = [
  {
    role: 'storefront',
    can: filecoinOffer.can,
    owner: () => space,
    nb: async () => ({ content: linkOf(bytesOf(`content ${count++}`, 9)), piece: anyPiece() }),
    narrower: () => ({ piece: anyPiece() }),
    welcome: { ok: { piece: expect.anything() } },
  },
  {
    role: 'aggregator',
    can: pieceOffer.can,
    owner: () => serviceSigner('aggregator'),
    nb: async () => ({ piece: anyPiece(), group: 'group' }),
    narrower: () => ({ group: 'other' }),
    welcome: { ok: { piece: expect.anything() } },
  },
  {
    role: 'dealer',
    can: aggregateOffer.can,
    owner: () => serviceSigner('dealer'),
    nb: async () => {
      const { aggregate, block } = await anAggregate()
      return { aggregate, pieces: block.cid }
    },
    narrower: () => ({ aggregate: anyPiece() }),
    welcome: { ok: { aggregate: expect.anything() } },
  },
  {
    role: 'dealTracker',
    can: dealInfo.can,
    owner: () => serviceSigner('dealTracker'),
    nb: async () => ({ piece: anyPiece() }),
    narrower: () => ({ piece: anyPiece() }),
    welcome: { error: { name: 'DealNotFound' } },
  },
]

const doorOf = (role: string) => doors.find(door => door.role === role) as Door

/** The lists of pieces that an aggregate was made of here, by their CIDs: they travel with the invocation. */
const lists = new Map<string, { cid: never; bytes: Uint8Array }>()

const anAggregate = async (): Promise<{ aggregate: PieceLink; block: { cid: unknown } }> => {
  const { ok } = buildAggregate({ pieces: [anyPiece(), anyPiece()], size: 2 ** 16 })
  if (!ok) throw new Error('They make an aggregate')
  const block = (await CBOR.write(ok.pieces)) as never as { cid: never; bytes: Uint8Array }
  lists.set(`${block.cid}`, block)
  return { aggregate: ok.link, block }
}

type Options = Partial<Omit<Parameters<typeof invoke>[0], 'capability'>> & { with?: DID }

/** Asks at a door. */
const knock = async ({ role, can, nb, owner }: Door, { with: resource, ...options }: Options = {}) => {
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

type Given = Partial<Parameters<typeof Delegation.delegate>[0]> & { nb?: object; can?: string; with?: DID }

/** Passes on what a door asks for; from its owner to the agent, if nothing else is said. */
const give = ({ can, owner }: Door, { nb, with: resource, ...options }: Given = {}) =>
  Delegation.delegate({
    issuer: owner(),
    audience: agent,
    capabilities: [{ can: options.can ?? can, with: resource ?? owner().did(), ...(nb && { nb }) }] as never,
    expiration: Infinity,
    nonce: `${count++}`,
    ...options,
  }) as Promise<DelegationView>

const own = (role: string, issuer: Signer) => knock(doorOf(role), { issuer, with: issuer.did() })

const now = () => Math.floor(Date.now() / 1000)

describe.each(doors.map(door => [door.can, door] as const))('U1: %s', (_, door) => {
  test('is open to the agent of a delegation, and of a chain of them', async () => {
    expect((await knock(door, { proofs: [await give(door)] })).out).toMatchObject(door.welcome)
    const first = await give(door, { audience: team })
    const second = await give(door, { issuer: team, proofs: [first] })
    expect((await knock(door, { proofs: [second] })).out).toMatchObject(door.welcome)
  })

  test('for another audience is refused', async () => {
    const receipt = await knock(door, { proofs: [await give(door)], audience: stranger })
    expect(errorOf(receipt)).toMatchObject({ name: 'InvalidAudience' })
  })

  test.each<[string, RegExp, () => Promise<Options>]>([
    ['after its time', /expired/, async () => ({ proofs: [await give(door)], expiration: now() - 10 })],
    [
      'before its time',
      /not valid before/,
      async () => ({ proofs: [await give(door)], notBefore: now() + 3600 }),
    ],
    ['without a delegation', /can not be \(self\) issued/, async () => ({})],
    [
      'with a delegation that is over',
      /expired/,
      async () => ({ proofs: [await give(door, { expiration: now() - 10 })] }),
    ],
    [
      'with a delegation that has not begun',
      /not valid before/,
      async () => ({ proofs: [await give(door, { notBefore: now() + 3600 })] }),
    ],
    [
      'with a delegation to somebody else',
      /audience/,
      async () => ({ proofs: [await give(door, { audience: team })] }),
    ],
    [
      'with a delegation of another ability',
      /Delegated capability not found/,
      async () => ({ proofs: [await give(door, { can: 'ucan/conclude' })] }),
    ],
    [
      'with a delegation of what somebody else owns',
      /Cannot derive a claim for .* from a delegation of/,
      async () => ({ proofs: [await give(door, { issuer: stranger, with: stranger.did() })] }),
    ],
    [
      'with a delegation of less',
      /Can not derive/,
      async () => ({ proofs: [await give(door, { nb: door.narrower() })] }),
    ],
    [
      'with a delegation by who does not own it',
      /can not be \(self\) issued/,
      async () => ({ proofs: [await give(door, { issuer: stranger })] }),
    ],
    [
      'with a forged delegation',
      /signature/,
      async () => ({
        proofs: [await give(door, { issuer: parseSigner(await keyOf('stranger'), door.owner().did()) })],
      }),
    ],
    [
      'on a chain that lacks its first link',
      /can not be \(self\) issued/,
      async () => ({ proofs: [await give(door, { issuer: team })] }),
    ],
    [
      'on a chain whose first link is over',
      /expired/,
      async () => {
        const first = await give(door, { audience: team, expiration: now() - 10 })
        return { proofs: [await give(door, { issuer: team, proofs: [first] })] }
      },
    ],
    [
      'on a chain whose first link is to somebody else',
      /audience/,
      async () => {
        const first = await give(door, { audience: stranger })
        return { proofs: [await give(door, { issuer: team, proofs: [first] })] }
      },
    ],
    [
      'on a chain that grants more than it was given',
      /Can not derive/,
      async () => {
        const first = await give(door, { audience: team, nb: door.narrower() })
        return { proofs: [await give(door, { issuer: team, proofs: [first] })] }
      },
    ],
  ])('%s is refused', async (_, reason, make) => {
    const receipt = await knock(door, await make())
    expect(errorOf(receipt)).toMatchObject({
      name: 'Unauthorized',
      message: expect.stringMatching(reason),
    })
  })

  test('on a chain that anybody on it revoked is refused from then on, and only on that', async () => {
    const owner = door.owner()
    const other = await give(door)
    for (const [by, which] of [
      [owner, 'first'],
      [team, 'first'],
      [team, 'second'],
      [agent, 'second'],
      [owner, 'second'],
    ] as const) {
      const first = await give(door, { audience: team })
      const second = await give(door, { issuer: team, proofs: [first] })
      expect((await knock(door, { proofs: [second] })).out).toMatchObject(door.welcome)
      expect((await takeBack(door, by, which === 'first' ? [first] : [second, first])).out).toMatchObject({
        ok: { time: expect.any(Number) },
      })
      expect(errorOf(await knock(door, { proofs: [second] }))).toMatchObject({
        name: 'Unauthorized',
        message: expect.stringContaining('revoked'),
      })
    }
    expect(errorOf(await takeBack(door, stranger, [other]))).toMatchObject({ name: 'UnauthorizedRevocation' })
    expect((await knock(door, { proofs: [other] })).out).toMatchObject(door.welcome)
  })
})

/** Revokes a delegation at a service. What it was derived from travels along. */
const takeBack = async ({ role }: Door, issuer: Signer, [ucan, ...above]: DelegationView[]) => {
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

  test.each(storefronts)('takes pieces of a storefront under %s, with its own DID', async (_, signer) => {
    expect((await own('aggregator', signer())).out).toMatchObject({ ok: { piece: expect.anything() } })
  })

  test.each([...storefronts, ['a DID that is not listed', () => stranger] as const])(
    "takes pieces of a storefront under %s, with the aggregator's DID and its delegation only",
    async (_, signer) => {
      const issuer = signer()
      const door = doorOf('aggregator')
      expect(errorOf(await knock(door, { issuer }))).toMatchObject({ name: 'Unauthorized' })
      const proofs = [await give(door, { audience: issuer })]
      expect((await knock(door, { issuer, proofs })).out).toMatchObject({ ok: { piece: expect.anything() } })
    },
  )

  test('takes no pieces of who is not listed, and asks no host about them', async () => {
    expect(errorOf(await own('aggregator', stranger))).toMatchObject({ name: 'UnknownStorefront' })
    const unlisted = await signerOf('stranger', unlistedHost.did)
    expect(errorOf(await own('aggregator', unlisted))).toMatchObject({
      name: 'Unauthorized',
      message: expect.stringContaining(`Unable to resolve '${unlistedHost.did}' key`),
    })
    expect(unlistedHost.asked).toBe(0)
  })

  test.each(storefronts)('takes no piece that others offer in the name of %s', async (_, signer) => {
    const forger = parseSigner(await keyOf('stranger'), signer().did())
    expect(errorOf(await own('aggregator', forger))).toMatchObject({
      name: 'Unauthorized',
      message: expect.stringContaining('signature'),
    })
  })
})

test('the dealer takes aggregates of a listed aggregator with its own DID, and of no other', async () => {
  const welcome = { ok: { aggregate: expect.anything() } }
  expect((await own('dealer', serviceSigner('aggregator'))).out).toMatchObject(welcome)
  expect(errorOf(await own('dealer', stranger))).toMatchObject({ name: 'UnknownAggregator' })
})

test('the deal tracker answers listed clients with their own DIDs, also at hosts, and no others', async () => {
  const welcome = { error: { name: 'DealNotFound' } }
  expect((await own('dealTracker', parseSigner(local.agent.key))).out).toMatchObject(welcome)
  expect((await own('dealTracker', serviceSigner('dealer'))).out).toMatchObject(welcome)
  expect(errorOf(await own('dealTracker', stranger))).toMatchObject({ name: 'UnknownClient' })
})

test('a piece gets from a storefront under a did:web to a deal of a dealer under another', async () => {
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
  const isTaken = async (issuer: Signer) => (await own('aggregator', issuer)).out.ok !== undefined

  test('at its host, the new one signs soon and the former no more; the others go on', async () => {
    const changed = await signerOf('new', host.did)
    expect(await isTaken(atHost)).toBe(true)
    host.keys = [changed.toDIDKey()]
    const { asked } = host
    // The aggregator asks the host again when its last answer is half a minute old.
    await expect.poll(() => isTaken(changed), { timeout: 45_000, interval: 500 }).toBe(true)
    expect(await isTaken(atHost)).toBe(false)
    expect(host.asked - asked).toBe(1)
    for (const other of [listed, configured, serviceSigner('otherStorefront')])
      expect(await isTaken(other)).toBe(true)
  })

  test('in the configuration, the new one signs and the former no more; the others go on', async () => {
    const changed = await signerOf('new', CONFIGURED)
    await local.stop()
    local = await startLocal({
      data,
      storefronts: ['otherStorefront'],
      configure: configureWith(changed.toDIDKey())!,
    })
    expect(await isTaken(changed)).toBe(true)
    expect(await isTaken(configured)).toBe(false)
    for (const other of [listed, await signerOf('new', host.did), serviceSigner('otherStorefront')])
      expect(await isTaken(other)).toBe(true)
  })
})
