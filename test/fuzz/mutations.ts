import { Delegation, invoke } from '@ucanto/core'
import type { Delegation as DelegationView, Invocation, Signer } from '@ucanto/interface'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'
import {
  change,
  editPart,
  type MessageParts,
  packMessage,
  type Rewrite,
  rewriteData,
  type SignerOf,
  unpackMessage,
} from './blocks.ts'
import type { Cast, Role, Sample } from './corpus.ts'

/** The HTTP request that is sent to a service. */
export interface Hit {
  to: Role
  method: string
  path: string
  headers: Record<string, string>
  body?: Uint8Array
  /** Whether no invocation in it may succeed, because of its mutation. */
  hopeless: boolean
}

/** A mutation of an honest message, as data, so that it can be printed and repeated. */
export type Plan = { sample: number } & (
  | {
      kind: 'honest'
      how: 'as it is' | 'other nonce' | 'other order' | 'stray block' | 'with others'
      n: number
    }
  | { kind: 'bytes'; edits: Edit[] }
  | { kind: 'blocks'; op: (typeof BLOCK_OPS)[number]; which: number; other: number }
  | { kind: 'renamed'; edits: Edit[]; which: number; sign: Sign }
  | { kind: 'field'; which: number; at: number; op: 'replace' | 'remove' | 'add'; value: number; sign: Sign }
  | {
      kind: 'claim'
      what: (typeof CLAIM_CHANGES)[number]
      by: 'issuer' | 'stranger' | 'agent'
      other: number
      n: number
    }
  | { kind: 'chain'; shape: (typeof SHAPES)[number]; size: number }
  | { kind: 'http'; method: string; path: string; type: string; withBody: boolean }
  | { kind: 'bomb'; what: (typeof BOMBS)[number]; size: number }
)

/** The signer of changed UCANs: none, a stranger under the DID of the issuer, or the issuer. */
type Sign = 'none' | 'stranger' | 'issuer'

interface Edit {
  op: 'flip' | 'cut' | 'insert' | 'drop' | 'repeat' | 'fill'
  at: number
  length: number
  byte: number
}

const BLOCK_OPS = [
  'remove',
  'twice',
  'garble',
  'bytes of another',
  'identity hash',
  'other hash',
  'long CID',
  'no root',
  'two roots',
  'other root',
  'blocks of another message',
] as const
const CLAIM_CHANGES = [
  'audience',
  'with',
  'can',
  'nb',
  'proofs of another',
  'no proofs',
  'expired',
  'not begun',
  'odd ability',
  'for another service',
] as const
const SHAPES = ['wide', 'deep', 'diamond', 'many capabilities', 'attestations', 'caveats'] as const
const BOMBS = [
  'ones',
  'zeros',
  'nested',
  'endless header',
  'huge section',
  'empty lists',
  'long text',
  'version 2',
] as const

/** Caveats of delegations: ones that an ability defines, and ones that no ability defines. */
const CAVEATS: readonly object[] = [
  { maxBytes: 5 },
  { group: 'local' },
  { group: 'local', until: null },
  { nonce: 'fuzz' },
  { '': 1 },
]

const nest = (depth: number): unknown => {
  let value: unknown = 1
  for (let n = 0; n < depth; n++) value = [value]
  return value
}

/** Unusual values for a field. The list is short, so that accepted messages create few records. */
const ODD: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  2 ** 53 - 1,
  '',
  '0',
  '__proto__',
  'did:key:',
  'did:key:z6Mk',
  'did:web:x',
  'did:x:y',
  'ucan:*',
  '*',
  'filecoin/offer',
  'constructor/assign',
  '\u0000\ud800\n',
  'x'.repeat(900),
  'x'.repeat(5_000),
  new Uint8Array(),
  new Uint8Array([0xed, 1]),
  new Uint8Array([0x9d, 0x1a]),
  new Uint8Array(40).fill(0xff),
  new Uint8Array(3_000),
  [],
  {},
  [[]],
  [null],
  [1, 'a', {}],
  { '': {} },
  { toString: 2, constructor: {} },
  nest(20),
  nest(40),
  nest(2_000),
  CID.createV1(0x55, createDigest(0, new Uint8Array([1, 2, 3]))),
  CID.createV1(0x71, createDigest(0, new Uint8Array([0xa0]))),
  CID.createV1(0x55, createDigest(0x12, new Uint8Array(32))),
  CID.createV1(0x55, createDigest(0x1011, new Uint8Array(33))),
  CID.createV1(0x55, createDigest(0x1011, new Uint8Array(34).fill(0xff))),
  CID.createV1(0x55, createDigest(0x1011, new Uint8Array(100))),
  CID.createV1(0x55, createDigest(0, new Uint8Array(10_000))),
  CID.createV0(createDigest(0x12, new Uint8Array(32))),
]

const ODD_ABILITIES = [
  'constructor/assign',
  'tostring/call',
  '__proto__/x',
  'hasownproperty/call',
  'filecoin/*',
  'filecoin/offer/more',
  '*/*',
  'ucan/attest',
  `x/${'y'.repeat(500)}`,
]

const nat = fc.nat({ max: 1_000_000 })
const edit = fc.record({
  op: fc.constantFrom('flip', 'cut', 'insert', 'drop', 'repeat', 'fill'),
  at: nat,
  length: fc.integer({ min: 1, max: 64 }),
  byte: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0x9f, 0xbf, 0xff), fc.integer({ min: 0, max: 255 })),
}) as fc.Arbitrary<Edit>

const TYPES = ['application/vnd.ipld.car', 'application/json', 'application/cbor', '', 'a'.repeat(3_000)]
const path = fc.oneof(
  fc.constantFrom(
    '/',
    '/receipt/',
    '/receipt',
    '/.well-known/did.json',
    '/%E0%A4%A',
    '//',
    '/..%2f..%2fetc',
    '/%00',
    '/?a=%',
  ),
  fc.stringMatching(/^[A-Za-z0-9%._~/-]{0,60}$/).map(text => `/receipt/${text}`),
  fc
    .uint8Array({ minLength: 1, maxLength: 60 })
    .map(bytes => `/receipt/b${Buffer.from(bytes).toString('hex')}`),
  fc.constantFrom(100, 3_000, 9_000).map(length => `/receipt/${'b'.repeat(length)}`),
)

export const generatePlans = (samples: number): fc.Arbitrary<Plan> => {
  const sample = fc.nat({ max: samples - 1 })
  const kind = <const K extends Plan['kind']>(kind: K, rest: object) =>
    fc.record({ kind: fc.constant(kind), sample, ...rest }) as unknown as fc.Arbitrary<Plan>
  return fc.oneof(
    {
      weight: 6,
      arbitrary: kind('honest', {
        how: fc.constantFrom('as it is', 'other nonce', 'other order', 'stray block', 'with others'),
        n: fc.nat({ max: 3 }),
      }),
    },
    { weight: 12, arbitrary: kind('bytes', { edits: fc.array(edit, { minLength: 1, maxLength: 6 }) }) },
    {
      weight: 16,
      arbitrary: kind('renamed', {
        edits: fc.array(edit, { minLength: 1, maxLength: 3 }),
        which: nat,
        sign: fc.constantFrom('none', 'stranger', 'issuer'),
      }),
    },
    {
      weight: 14,
      arbitrary: kind('blocks', { op: fc.constantFrom(...BLOCK_OPS), which: nat, other: sample }),
    },
    {
      weight: 30,
      arbitrary: kind('field', {
        which: nat,
        at: nat,
        op: fc.constantFrom('replace', 'replace', 'remove', 'add'),
        value: fc.nat({ max: ODD.length - 1 }),
        sign: fc.constantFrom('none', 'stranger', 'issuer', 'issuer'),
      }),
    },
    {
      weight: 16,
      arbitrary: kind('claim', {
        what: fc.constantFrom(...CLAIM_CHANGES),
        by: fc.constantFrom('issuer', 'stranger', 'agent'),
        other: sample,
        n: nat,
      }),
    },
    {
      weight: 2,
      arbitrary: kind('chain', { shape: fc.constantFrom(...SHAPES), size: fc.integer({ min: 1, max: 12 }) }),
    },
    {
      weight: 7,
      arbitrary: kind('http', {
        method: fc.constantFrom(
          'GET',
          'GET',
          'GET',
          'POST',
          'HEAD',
          'PUT',
          'DELETE',
          'OPTIONS',
          'PATCH',
          'TRACE',
          'PURGE',
        ),
        path,
        type: fc.constantFrom(...TYPES),
        withBody: fc.boolean(),
      }),
    },
    {
      weight: 1,
      arbitrary: kind('bomb', { what: fc.constantFrom(...BOMBS), size: fc.integer({ min: 1, max: 8 }) }),
    },
  )
}

/** Builds the message of a plan. */
export class Mutator {
  readonly #samples: readonly Sample[]
  readonly #cast: Cast
  readonly #signers: Map<string, Signer>

  constructor(samples: readonly Sample[], cast: Cast) {
    this.#samples = samples
    this.#cast = cast
    this.#signers = new Map(Object.values(cast).map(signer => [signer.did(), signer]))
  }

  async build(plan: Plan): Promise<Hit> {
    const sample = this.#samples[plan.sample]!
    const post = (body: Uint8Array, hopeless: boolean): Hit => ({
      to: sample.to,
      method: 'POST',
      path: '/',
      headers: { 'content-type': 'application/vnd.ipld.car' },
      body,
      hopeless,
    })
    switch (plan.kind) {
      case 'honest':
        return post(packMessage(await this.#honest(sample, plan)), false)
      case 'bytes':
        return post(
          plan.edits.reduce(applyEdit, packMessage(await unpackMessage([sample.invocation]))),
          false,
        )
      case 'blocks': {
        const other = await unpackMessage([this.#samples[plan.other]!.invocation])
        return post(packMessage(rearrange(await unpackMessage([sample.invocation]), plan, other)), false)
      }
      case 'renamed': {
        const { parts, forged } = await this.#changed(
          sample,
          plan,
          () => bytes => plan.edits.reduce(applyEdit, bytes),
        )
        return post(packMessage(parts), forged)
      }
      case 'field': {
        const { at, op, value } = plan
        const { parts, forged } = await this.#changed(sample, plan, signerOf =>
          rewriteData(data => editPart(data, at, op, ODD[value]), signerOf),
        )
        return post(packMessage(parts), forged)
      }
      case 'claim': {
        const invocation = await this.#claim(sample, plan)
        const hopeless = plan.by === 'stranger' || ['expired', 'not begun', 'audience'].includes(plan.what)
        return post(packMessage(await unpackMessage([invocation])), hopeless)
      }
      case 'chain':
        return post(packMessage(await unpackMessage([await this.#chain(sample, plan)])), false)
      case 'http': {
        const hit = post(packMessage(await unpackMessage([sample.invocation])), false)
        const { body, ...bare } = {
          ...hit,
          method: plan.method,
          path: plan.path,
          headers: { 'content-type': plan.type },
        }
        return plan.withBody ? { ...bare, body: body! } : bare
      }
      case 'bomb':
        return post(buildBomb(plan), true)
    }
  }

  async #honest(
    { invocation, by, to }: Sample,
    { how, n }: Extract<Plan, { kind: 'honest' }>,
  ): Promise<MessageParts> {
    if (how === 'with others') {
      const others = this.#samples.filter(sample => sample.to === to).map(sample => sample.invocation)
      return unpackMessage([invocation, ...others.slice(0, n + 1)])
    }
    if (how === 'other nonce') return unpackMessage([await reissue(invocation, by, { nonce: `${n}` })])
    const parts = await unpackMessage([invocation])
    if (how === 'other order') return { ...parts, blocks: parts.blocks.toReversed() }
    const stray = await unpackMessage([this.#samples[n]!.invocation])
    return how === 'stray block' ? { ...parts, blocks: [...stray.blocks, ...parts.blocks] } : parts
  }

  /** Changes one block, and the CIDs of the block and of all blocks that lead to it. */
  async #changed(
    { invocation }: Sample,
    { which, sign }: { which: number; sign: Sign },
    rewriteWith: (signerOf: SignerOf) => Rewrite,
  ): Promise<{ parts: MessageParts; forged: boolean }> {
    const parts = await unpackMessage([invocation])
    const { cid } = parts.blocks[which % parts.blocks.length]!
    const { stranger } = this.#cast
    let forged = false
    const forger = Object.create(stranger, {
      sign: {
        value: (bytes: Uint8Array) => {
          forged = true
          return stranger.sign(bytes)
        },
      },
    }) as Signer
    const signerOf = (issuer: string) =>
      ({ none: undefined, stranger: forger, issuer: this.#signers.get(issuer) })[sign]
    try {
      return { parts: await change(parts, cid, rewriteWith(signerOf), signerOf), forged }
    } catch {
      // The block is not CBOR, or the value has a prototype that CBOR cannot encode.
      return { parts, forged: false }
    }
  }

  async #claim(
    { invocation, by, to }: Sample,
    { what, by: who, other, n }: Extract<Plan, { kind: 'claim' }>,
  ) {
    const signer =
      who === 'issuer' ? by : who === 'agent' ? this.#cast.agent : impersonate(this.#cast.stranger, by)
    const another = this.#samples[other]!.invocation
    const [claim] = invocation.capabilities
    const [otherClaim] = another.capabilities
    const principal = Object.values(this.#cast)[n % Object.keys(this.#cast).length]!
    const services = ['storefront', 'aggregator', 'dealer', 'dealTracker'] as const
    const changes: Record<typeof what, object> = {
      audience: { audience: this.#cast[to === 'storefront' ? 'agent' : 'storefront'] },
      'for another service': { audience: this.#cast[services[n % 4]!] },
      with: { capability: { ...claim, with: principal.did() } },
      can: { capability: { ...claim, can: otherClaim!.can } },
      nb: { capability: { ...claim, nb: otherClaim!.nb } },
      'odd ability': { capability: { ...claim, can: ODD_ABILITIES[n % ODD_ABILITIES.length] } },
      'proofs of another': { proofs: another.proofs },
      'no proofs': { proofs: [] },
      expired: { expiration: 1_000_000 },
      'not begun': { notBefore: 99_999_999_999 },
    }
    return reissue(invocation, signer, changes[what])
  }

  async #chain(
    { invocation }: Sample,
    { shape, size }: Extract<Plan, { kind: 'chain' }>,
  ): Promise<Invocation> {
    const { agent, space, team, stranger } = this.#cast
    let count = 0
    const give = (issuer: Signer, audience: Signer, proofs: DelegationView[] = [], capabilities?: object[]) =>
      Delegation.delegate({
        issuer,
        audience,
        proofs,
        capabilities: (capabilities ?? [{ can: '*', with: space.did() }]) as never,
        expiration: Infinity,
        nonce: `${count++}`,
      }) as Promise<DelegationView>
    const times = <T>(number: number, make: (n: number) => Promise<T>) =>
      Promise.all(Array.from({ length: number }, (_, n) => make(n)))

    /** The chain starts at the space only if `from` is the space. */
    const diamond = async (levels: number, from: Signer) => {
      let level = await times(2, () => give(from, team))
      for (let n = 0; n < levels; n++) level = await times(2, () => give(team, team, level))
      return [await give(team, agent, level)]
    }
    const { can, nb } = invocation.capabilities[0]!
    const abilities = ['*', `${can.split('/')[0]}/*`, can]
    /** A chain of two delegations, one of which has caveats beside those of the invocation. */
    const restricted = async () => {
      const delegated = { can: abilities[size % abilities.length], with: space.did() }
      const plain = [delegated]
      const strict = [{ ...delegated, nb: { ...(nb as object), ...CAVEATS[size % CAVEATS.length] } }]
      const first = await give(space, team, [], size % 2 === 0 ? strict : plain)
      return [await give(team, agent, [first], size % 2 === 0 ? plain : strict)]
    }
    const proofs = {
      caveats: restricted,
      wide: () => times(size * 60, () => give(stranger, agent)),
      deep: async () => {
        let last = await give(space, team)
        for (let n = 1; n < size; n++) last = await give(team, team, [last])
        return [await give(team, agent, [last])]
      },
      diamond: () => diamond(size, size % 2 === 0 ? space : stranger),
      'many capabilities': async () => {
        const many = Array.from({ length: size * 5 }, () => ({ can: '*', with: space.did() }))
        const first = await give(stranger, team, [], many)
        return [await give(team, agent, [await give(team, team, [first], many)], many)]
      },
      attestations: () =>
        times(size, n =>
          give(
            stranger.withDID(`did:mailto:example.com:${n}`) as Signer,
            agent,
            [],
            [{ can: 'ucan/attest', with: this.#cast.storefront.did(), nb: { proof: invocation.cid } }],
          ),
        ),
    }
    const capability = { ...invocation.capabilities[0], with: space.did() }
    return reissue(invocation, agent, { capability, proofs: await proofs[shape]() })
  }
}

/** Issues an invocation again, with changes and another issuer. */
const reissue = async (invocation: Invocation, issuer: Signer, changes: object): Promise<Invocation> => {
  const { audience, capabilities, facts, expiration, nonce, proofs } = invocation
  const again = await invoke({
    issuer,
    audience,
    capability: capabilities[0],
    facts,
    expiration,
    proofs,
    ...(nonce === undefined ? {} : { nonce }),
    ...changes,
  } as never).buildIPLDView()
  // Attach the same blocks, except those that the changed invocation no longer links.
  const { attachedLinks: links } = again as unknown as { attachedLinks: ReadonlySet<string> }
  for (const block of invocation.iterateIPLDBlocks())
    if (links.has(`${block.cid}`)) again.attach(block as never)
  return again as unknown as Invocation
}

/** Returns a signer that signs with its own key under the DID of another principal. */
const impersonate = (signer: Signer, claimed: Signer): Signer =>
  Object.create(claimed, { sign: { value: (bytes: Uint8Array) => signer.sign(bytes) } })

const applyEdit = (bytes: Uint8Array, { op, at: position, length, byte }: Edit): Uint8Array => {
  const at = position % Math.max(1, bytes.byteLength)
  const [before, part, after] = [
    bytes.subarray(0, at),
    bytes.subarray(at, at + length),
    bytes.subarray(at + length),
  ]
  switch (op) {
    case 'flip':
      return bytes.byteLength === 0 ? bytes : bytes.with(at, bytes[at]! ^ (1 << (byte % 8)))
    case 'cut':
      return before
    case 'insert':
      return Buffer.concat([before, new Uint8Array(length).fill(byte), part, after])
    case 'drop':
      return Buffer.concat([before, after])
    case 'repeat':
      return Buffer.concat([before, part, part, after])
    case 'fill':
      return Buffer.concat([before, new Uint8Array(part.byteLength).fill(byte), after])
  }
}

const rearrange = (
  { roots, blocks }: MessageParts,
  { op, which }: Extract<Plan, { kind: 'blocks' }>,
  other: MessageParts,
): MessageParts => {
  const at = which % blocks.length
  const block = blocks[at]!
  const rename = (cid: CID) => ({ roots, blocks: blocks.with(at, { ...block, cid }) })
  switch (op) {
    case 'remove':
      return { roots, blocks: blocks.toSpliced(at, 1) }
    case 'twice':
      return { roots, blocks: [...blocks, block] }
    case 'garble':
      return {
        roots,
        blocks: blocks.with(at, {
          ...block,
          bytes: block.bytes.with(which % block.bytes.byteLength, which & 0xff),
        }),
      }
    case 'bytes of another':
      return { roots, blocks: blocks.with(at, { ...block, bytes: blocks[(at + 1) % blocks.length]!.bytes }) }
    case 'identity hash':
      return rename(CID.createV1(block.cid.code, createDigest(0, block.bytes)))
    case 'other hash':
      return rename(CID.createV1(block.cid.code, createDigest(0x13, new Uint8Array(64))))
    case 'long CID':
      return rename(CID.createV1(block.cid.code, createDigest(0x12, new Uint8Array(100_000))))
    case 'no root':
      return { roots: [], blocks }
    case 'two roots':
      return { roots: [...roots, block.cid], blocks }
    case 'other root':
      return { roots: [block.cid], blocks }
    case 'blocks of another message':
      return { roots, blocks: other.blocks }
  }
}

const HEADER = packMessage({
  roots: [CID.createV1(0x55, createDigest(0x12, new Uint8Array(32)))],
  blocks: [],
})

/** Builds a small body that claims to be large, or a large body without content. */
const buildBomb = ({ what, size }: Extract<Plan, { kind: 'bomb' }>): Uint8Array => {
  const fill = (byte: number) => Buffer.concat([HEADER, new Uint8Array(size * 600_000).fill(byte)])
  switch (what) {
    case 'ones':
      return fill(1)
    case 'zeros':
      return fill(0)
    case 'nested':
      return fill(0x81)
    case 'empty lists':
      return fill(0x80)
    case 'endless header':
      return new Uint8Array(size * 10).fill(0xff)
    case 'huge section':
      return Buffer.concat([HEADER, new Uint8Array([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f])])
    case 'long text':
      return Buffer.from('x'.repeat(size * 600_000))
    case 'version 2':
      return Buffer.concat([
        Buffer.from('0aa16776657273696f6e02', 'hex'),
        new Uint8Array(40).fill(size),
        HEADER,
      ])
  }
}
