import { Delegation } from '@ucanto/core'
import type { DID, Proof, Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { bytesOf, linkOf, signersOf, somePiece } from '@w3filecoin/testing'
import { Piece } from '@web3-storage/data-segment'
import { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import { randomContent } from './content.ts'
import { ask, createAgent, invoke } from './invoke.ts'
import { useSystem } from './system.ts'

/** Failures as a person meets them who sends wrong things: by their name, their fields, and their message. */
const system = useSystem({
  configure: (role, config) => (role === 'storefront' ? { ...config, spaces: 'listed' } : config),
})

type Nb = Record<string, unknown>
interface Failure {
  name: string
  message: string
  field?: string
  found?: string
  expected?: string
  piece?: unknown
}

const content = linkOf(bytesOf('refusals', 10))
const piece = somePiece('refusals')
/** A piece CID v1, as Filecoin chain explorers show it. */
const v1 = CID.parse('baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq')

/** Every ability of the system: the service, the issuer (a new agent, or a service), and valid arguments. */
const abilities: [role: string, can: `${string}/${string}`, issuer: string, nb: Nb][] = [
  ['storefront', 'filecoin/offer', 'agent', { content, piece }],
  ['storefront', 'filecoin/info', 'agent', { piece }],
  ['storefront', 'filecoin/submit', 'storefront', { content, piece }],
  ['storefront', 'filecoin/accept', 'storefront', { content, piece }],
  ['storefront', 'space/index/add', 'agent', { index: content }],
  ['storefront', 'upload/add', 'agent', { root: content }],
  ['storefront', 'ucan/conclude', 'aggregator', { receipt: content }],
  ['aggregator', 'piece/offer', 'storefront', { piece, group: 'g' }],
  ['aggregator', 'piece/info', 'storefront', { piece, group: 'g' }],
  ['aggregator', 'piece/accept', 'aggregator', { piece, group: 'g' }],
  ['aggregator', 'ucan/conclude', 'dealer', { receipt: content }],
  ['dealer', 'aggregate/offer', 'aggregator', { aggregate: piece, pieces: content }],
  ['dealer', 'aggregate/accept', 'dealer', { aggregate: piece, pieces: content }],
  ['dealTracker', 'deal/info', 'dealer', { piece }],
  ...['storefront', 'aggregator', 'dealer', 'dealTracker'].map(
    role => [role, 'ucan/revoke', 'agent', { ucan: content }] as [string, 'ucan/revoke', string, Nb],
  ),
]

interface Options {
  issuer?: Signer
  with?: DID
  proofs?: Proof[]
}

/** Invokes an ability, and returns the failure. Promised tasks are refused without a signature. */
const refuse = async (
  role: string,
  can: `${string}/${string}`,
  by: string,
  nb: Nb,
  options: Options = {},
) => {
  const issuer = options.issuer ?? (by === 'agent' ? await ed25519.generate() : system.signer(by))
  const isOwn = role === by
  const { out, fx } = await (isOwn ? ask : invoke)(system.at(role), { can, nb, ...options, issuer })
  expect(out.ok).toBeUndefined()
  expect(fx.fork).toEqual([])
  const error = out.error as unknown as Failure
  expect(JSON.stringify(error)).not.toMatch(/\[object|undefined|NaN/)
  return error
}

const fields = abilities.flatMap(([role, can, by, nb]) =>
  Object.keys(nb).map(field => [`nb.${field} of ${can}, ${role}`, { role, can, by, nb, field }] as const),
)
const pieceFields = fields.filter(([, { field }]) => field === 'piece' || field === 'aggregate')

test.each(fields)(
  'K5: a missing argument, or one of the wrong kind, is named with its value: %s',
  async (_, { role, can, by, nb, field }) => {
    const path = `nb.${field}`
    const { [field]: valid, ...others } = nb
    const missing = await refuse(role, can, by, others)
    expect(missing).toMatchObject({ name: 'MalformedCapability', field: path, found: 'nothing' })
    expect(missing.message).toBe(`${path} of ${can} is missing. Expected ${missing.expected}.`)

    const map = await refuse(role, can, by, { ...others, [field]: { some: 'map' } })
    expect(map).toMatchObject({
      name: 'MalformedCapability',
      field: path,
      found: 'a map with the keys "some"',
    })

    // A text stands where a link belongs, or a link where a text belongs.
    const isText = typeof valid === 'string'
    const isPiece = field === 'piece' || field === 'aggregate'
    const wrong = await refuse(role, can, by, { ...others, [field]: isText ? content : `${valid}` })
    const found = isText ? `${content}` : `"${valid}"`
    expect(wrong).toMatchObject({
      name: isPiece ? 'InvalidPieceCID' : 'MalformedCapability',
      field: path,
      found,
      expected: expect.stringContaining(isText ? 'as text' : 'as a link'),
    })
    expect(wrong.message).toContain(`${path} of ${can} is ${found}. Expected ${wrong.expected}.`)
    if (!isText) expect(wrong.message).toContain('Send the link instead of its text')
  },
)

test.each(pieceFields)(
  'K5: a piece CID v1 is InvalidPieceCID, and the message says how to compute the v2: %s',
  async (_, { role, can, by, nb, field }) => {
    const error = await refuse(role, can, by, { ...nb, [field]: v1 })
    expect(error).toMatchObject({ name: 'InvalidPieceCID', field: `nb.${field}`, found: `${v1}` })
    expect(`${error.piece}`).toBe(`${v1}`)
    expect(error.message).toMatch(/This is a piece CID v1\. The v2 also needs the size/)
    const isAggregate = field === 'aggregate' || can === 'deal/info'
    expect(error.message).toContain(
      isAggregate ? 'Piece.fromInfo({ link, size }).link' : 'Piece.fromPayload(bytes).link',
    )
  },
)

test('K5: the functions that the message names return a piece CID that is accepted', async () => {
  const { link } = Piece.fromInfo({ link: v1 as never, size: 34359738368n })
  // Only the deal is missing.
  expect(await refuse('dealTracker', 'deal/info', 'dealer', { piece: link })).toMatchObject({
    name: 'DealNotFound',
  })
  const computed = Piece.fromPayload(bytesOf('refusals', 1_000)).link
  const { out } = await invoke(system.at('aggregator'), {
    issuer: system.signer('storefront'),
    can: 'piece/offer',
    nb: { piece: computed, group: 'g' },
  })
  expect(out.ok).toMatchObject({ piece: computed })
})

test.each(abilities.map(([role, can, ...others]) => [`${can}, ${role}`, role, can, ...others] as const))(
  'K5: a resource that is not a DID is named: %s',
  async (_, role, can, by, nb) => {
    const error = await refuse(role, can, by, nb, { with: 'https://example.com' as never })
    // The promised tasks are for the service alone, with its DID.
    if (role === by) return expect(error).toMatchObject({ name: 'UnsupportedCapability' })
    expect(error).toMatchObject({
      name: 'MalformedCapability',
      field: 'with',
      found: '"https://example.com"',
    })
  },
)

test('K5: a long or dangerous text is cut and escaped', async () => {
  for (const text of ['x'.repeat(1_000), '\u001b[2J\u202e'.repeat(100)]) {
    const error = await refuse('dealTracker', 'deal/info', 'dealer', { piece: text })
    expect(error.name).toBe('InvalidPieceCID')
    expect(JSON.stringify(error).length).toBeLessThan(4_000)
    expect(error.message).not.toMatch(/\p{C}/u)
  }
})

test('K5: arguments are checked for the signer of the invocation only, and before its delegations', async () => {
  const { agent, other } = await signersOf('agent', 'other')
  const forger = Object.create(agent, { sign: { value: (bytes: Uint8Array) => other.sign(bytes) } })
  const forged = await refuse(
    'storefront',
    'filecoin/offer',
    'agent',
    { content, piece: v1 },
    { issuer: forger },
  )
  expect(forged).toMatchObject({ name: 'Unauthorized', message: expect.stringContaining('signature') })
  const space = { issuer: agent, with: other.did() }
  const unproven = await refuse('storefront', 'filecoin/offer', 'agent', { content, piece: v1 }, space)
  expect(unproven.name).toBe('InvalidPieceCID')
})

test('K5: Unauthorized names the principal, the ability, the resource, and the reason', async () => {
  const { issuer, with: space } = await createAgent()
  const owner = await ed25519.generate()
  const delegate = (nb?: object, can = 'filecoin/*') =>
    Delegation.delegate({
      issuer: owner,
      audience: issuer,
      capabilities: [{ can, with: owner.did(), ...(nb && { nb }) }] as never,
      expiration: Infinity,
    })
  const offer = (options: Options) =>
    refuse(
      'storefront',
      'filecoin/offer',
      'agent',
      { content, piece },
      { issuer, with: owner.did(), ...options },
    )

  const without = await offer({ with: space })
  expect(without.name).toBe('Unauthorized')
  expect(without.message).toBe(
    `${issuer.did()} is not authorized to invoke filecoin/offer on ${space}. The invocation has no proofs. To invoke it, ${issuer.did()} needs a valid delegation of filecoin/offer on ${space} in its proofs, from ${space} or from a principal that holds one.`,
  )

  const narrow = await delegate({ piece: somePiece('another') })
  expect((await offer({ proofs: [narrow] })).message).toContain(
    `The delegation ${narrow.cid} does not cover the invocation: it allows only ${somePiece('another')} as piece, and the invocation has ${piece}.`,
  )
  const malformed = await delegate({ piece: { a: 'map' } })
  expect((await offer({ proofs: [malformed] })).message).toContain(
    'A delegation of "filecoin/*" does not cover the invocation, because of its own arguments: nb.piece of filecoin/offer is a map with the keys "a". Expected a piece CID v2',
  )
  const other = await delegate(undefined, 'filecoin/info')
  expect((await offer({ proofs: [other] })).message).toContain(
    `A delegation of "filecoin/info" on "${owner.did()}" does not cover filecoin/offer.`,
  )
})

test.each([
  ['piece/offer', 'aggregator', { piece, group: 'g' }, 'UnknownStorefront', 'storefronts', 'storefront'],
  ['piece/info', 'aggregator', { piece, group: 'g' }, 'UnknownStorefront', 'storefronts', 'storefront'],
  [
    'aggregate/offer',
    'dealer',
    { aggregate: piece, pieces: content },
    'UnknownAggregator',
    'aggregators',
    'aggregator',
  ],
  ['deal/info', 'dealTracker', { piece }, 'UnknownClient', 'clients', 'client'],
] as const)(
  'K5: a principal that is not listed learns the setting and the command that list it, and the delegation that helps: %s',
  async (can, role, nb, name, setting, command) => {
    const stranger = await ed25519.generate()
    const { did } = system.at(role)
    const error = await refuse(role, can, 'agent', nb, { issuer: stranger })
    expect(error.name).toBe(name)
    expect(error.message).toBe(
      `${stranger.did()} is not in the setting ${setting} of ${did}, nor in its table of peers. Ask its operator to list it, with \`w3fil ${command} add ${stranger.did()}\`; or to delegate ${can} with ${did} to the audience ${stranger.did()}, and then invoke with ${did} and this delegation in the proofs.`,
    )
    // The second way works.
    const delegation = await Delegation.delegate({
      issuer: system.signer(role),
      audience: stranger,
      capabilities: [{ can, with: did as DID }],
      expiration: Infinity,
    })
    const { out } = await invoke(system.at(role), {
      issuer: stranger,
      can,
      with: did as DID,
      nb: { ...nb },
      proofs: [delegation],
    })
    expect((out.error as Failure | undefined)?.name ?? 'ok').not.toMatch(/^(Unknown|Unauthorized)/)
  },
)

test('K5: a space or a sender of receipts that is not listed learns the setting that lists it', async () => {
  const { did } = system.at('storefront')
  const space = await ed25519.generate()
  const unlisted = await refuse(
    'storefront',
    'filecoin/offer',
    'agent',
    { content, piece },
    { issuer: space },
  )
  expect(unlisted).toMatchObject({ name: 'SpaceNotListed', space: space.did() })
  expect(unlisted.message).toBe(
    `${space.did()} has no provider at ${did}, whose setting spaces is "listed". Ask its operator to add the space with a provider to the table space, or to set spaces to "open".`,
  )
  const sender = await refuse('storefront', 'ucan/conclude', 'agent', { receipt: content }, { issuer: space })
  expect(sender.name).toBe('UnknownSender')
  expect(sender.message).toBe(
    `${did} does not accept receipts from ${space.did()}. It accepts those of the services in its settings aggregator and dealer, which its operator can change.`,
  )
})

test('K5: info of a piece that was never offered fails with RecordNotFound, at the storefront and the aggregator', async () => {
  const { piece: unknown } = await randomContent(100)
  const asked = [
    await refuse('storefront', 'filecoin/info', 'agent', { piece: unknown }),
    await refuse('aggregator', 'piece/info', 'storefront', { piece: unknown, group: 'g' }),
  ]
  for (const error of asked) {
    expect(error).toMatchObject({ name: 'RecordNotFound', piece: unknown })
    expect(error.message).toContain(`${unknown}`)
  }
})

test('K5: a wrong audience and a wrong service are named', async () => {
  const issuer = await ed25519.generate()
  const { did: dealer } = system.at('dealer')
  const { did } = system.at('storefront')
  const { out } = await ask(
    { ...system.at('dealer'), url: system.at('storefront').url },
    {
      issuer,
      can: 'filecoin/info',
      nb: { piece },
    },
  )
  expect(out.error).toMatchObject({
    name: 'InvalidAudience',
    message: `The invocation is for ${dealer}, and this service is ${did}. Set its audience to ${did}, or send it to the service that it is for.`,
  })
  const missing = await refuse('aggregator', 'filecoin/offer', 'agent', { content, piece })
  expect(missing.name).toBe('HandlerNotFound')
  expect(missing.message).toContain('It has: piece/offer, piece/accept, piece/info, ucan/conclude, ')
})
