import * as CBOR from '@ipld/dag-cbor'
import { Delegation, invoke } from '@ucanto/core'
import type { Block, Delegation as DelegationView, Signer } from '@ucanto/interface'
import type { Result } from '@w3filecoin/capabilities'
import { bytesOf, linkOf, signersOf } from '@w3filecoin/testing'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'
import { describe, expect, it } from 'vitest'
import { MESSAGE_LIMITS } from '../src/index.ts'
import { Chains } from '../src/ucan/proof-chain.ts'
import { UCAN_LIMITS, Ucans } from '../src/ucan/ucans.ts'

const { service, space, team, agent } = await signersOf('service', 'space', 'team', 'agent')
const LIMITS = MESSAGE_LIMITS.chain

let count = 0
const give = (
  issuer: Signer,
  audience: Signer,
  proofs: DelegationView[] = [],
  capabilities: object[] = [{ can: 'test/*', with: space.did() }],
) =>
  Delegation.delegate({
    issuer,
    audience,
    proofs,
    capabilities: capabilities as never,
    expiration: Infinity,
    nonce: `${count++}`,
  }) as Promise<DelegationView>

const times = <T>(number: number, make: (n: number) => Promise<T>) =>
  Promise.all(Array.from({ length: number }, (_, n) => make(n)))

/** Passes an invocation with these proofs to `Chains`, with these limits. */
const take = async (proofs: DelegationView[], limits = LIMITS) => {
  const invocation = await invoke({
    issuer: agent,
    audience: service,
    capability: { can: 'test/it', with: space.did() },
    proofs,
  }).buildIPLDView()
  const blocks = new Map([...invocation.iterateIPLDBlocks()].map(block => [`${block.cid}`, block as Block]))
  return new Chains(new Ucans(blocks), limits).take(invocation.cid)
}

const deep = async (depth: number) => {
  let last = await give(space, depth === 1 ? agent : team)
  for (let n = 2; n <= depth; n++) last = await give(team, n === depth ? agent : team, [last])
  return [last]
}

describe('Chains', () => {
  it('accepts a chain of delegations up to the limit, and no longer one', async () => {
    expect(await take(await deep(LIMITS.depth))).toEqual({ ok: {} })
    expect((await take(await deep(LIMITS.depth + 1))).error).toMatchObject({
      name: 'TooManyProofs',
      message: expect.stringContaining('A chain of delegations is longer'),
    })
  })

  it('counts every path through shared proofs', async () => {
    // Two proofs on each of three levels, below one: 1 for the invocation, 1 for the last, then 2, 4, 8.
    let level = await times(2, () => give(space, team))
    for (let n = 0; n < 2; n++) level = await times(2, () => give(team, team, level))
    const proofs = [await give(team, agent, level)]
    expect((await take(proofs, { ...LIMITS, checks: 16 })).ok).toBeDefined()
    expect((await take(proofs, { ...LIMITS, checks: 15 })).error?.name).toBe('TooManyProofs')
  })

  it('counts every capability that may cover the claim, and no other', async () => {
    const fitting = Array.from({ length: 5 }, () => ({ can: 'test/it', with: space.did() }))
    const others = [
      { can: 'test/other', with: space.did() },
      { can: 'test/it', with: team.did() },
    ]
    const first = await give(space, team, [], [...fitting, ...others])
    const proofs = [await give(team, agent, [first], [...fitting, ...others])]
    // 1 for the invocation; 5 times the second one, which is 1 and 5 times the first one.
    expect((await take(proofs, { ...LIMITS, checks: 31 })).ok).toBeDefined()
    expect((await take(proofs, { ...LIMITS, checks: 30 })).error?.name).toBe('TooManyProofs')
  })

  it.each([
    [5, undefined],
    [6, 'TooManyProofs'],
  ])('of %i attestations among one another: %s', async (number, error) => {
    const attestations = await times(number, n =>
      give(
        team.withDID(`did:mailto:example.com:${n}`) as Signer,
        agent,
        [],
        [{ can: 'ucan/attest', with: service.did(), nb: { proof: linkOf(bytesOf(n, 3)) } }],
      ),
    )
    expect((await take(attestations)).error?.name).toBe(error)
  })

  it('adds up the checks of everything passed to it', async () => {
    const proofs = await times(3, () => give(space, agent))
    const blocks = new Map(proofs.map(({ root }) => [`${root.cid}`, root as Block]))
    const chains = new Chains(new Ucans(blocks), { ...LIMITS, checks: 2 })
    expect(proofs.map(({ cid }) => chains.take(cid).error?.name)).toEqual([
      undefined,
      undefined,
      'TooManyProofs',
    ])
  })
})

const nest = (depth: number): unknown => {
  let value: unknown = 1
  for (let n = 0; n < depth; n++) value = [value]
  return value
}
const link = (code: number, digest: Uint8Array) => CID.createV1(0x55, createDigest(code, digest))

describe('a UCAN', async () => {
  const good = await give(space, agent)
  const change = async (changes: object) => {
    const bytes = CBOR.encode({ ...CBOR.decode<object>(good.root.bytes as never), ...changes })
    const cid = linkOf(bytes, 0x71)
    return new Ucans(new Map([[`${cid}`, { cid, bytes } as never]])).read(`${cid}`)
  }
  const withNb = (nb: unknown) => change({ att: [{ can: 'test/it', with: space.did(), nb }] })

  /** Renames a key in the bytes, because the encoder would treat the map as a link. */
  const withPosingMap = () => {
    const nb = { content: { '~': 'y', bytes: 'y' } }
    const ucan = {
      ...CBOR.decode<object>(good.root.bytes as never),
      att: [{ can: 'a/b', with: 'did:x:y', nb }],
    }
    const bytes = Buffer.from(Buffer.from(CBOR.encode(ucan)).toString('latin1').replace('a~', 'a/'), 'latin1')
    const cid = linkOf(bytes, 0x71)
    return new Ucans(new Map([[`${cid}`, { cid, bytes } as never]])).read(`${cid}`)
  }

  it('within the limits is accepted', async () => {
    expect((await change({})).error).toBeUndefined()
    const nb = { deep: nest(UCAN_LIMITS.nesting - 4), long: 'x'.repeat(UCAN_LIMITS.text) }
    expect((await withNb(nb)).error).toBeUndefined()
  })

  it.each<[string, () => Promise<Result<object>>]>([
    ['nested too deep', () => withNb({ deep: nest(UCAN_LIMITS.nesting) })],
    ['nested much too deep', () => withNb(nest(1_000))],
    ['with a long text', () => withNb({ text: 'x'.repeat(UCAN_LIMITS.text + 1) })],
    ['with a long name', () => withNb({ ['x'.repeat(UCAN_LIMITS.text + 1)]: 1 })],
    ['with a long nonce', () => change({ nnc: 'x'.repeat(UCAN_LIMITS.text + 1) })],
    ['with long bytes', () => withNb({ bytes: new Uint8Array(UCAN_LIMITS.text + 1) })],
    ['with a long link', () => withNb({ link: link(0, new Uint8Array(UCAN_LIMITS.link)) })],
    ['with a long proof', () => change({ prf: [link(0, new Uint8Array(UCAN_LIMITS.link))] })],
    [
      'with a long issuer',
      () => change({ iss: new Uint8Array([0x9d, 0x1a, ...bytesOf(1, UCAN_LIMITS.did)]) }),
    ],
    [
      'with a long audience',
      () => change({ aud: new Uint8Array([0x9d, 0x1a, ...bytesOf(1, UCAN_LIMITS.did)]) }),
    ],
    ['of many bytes', () => change({ fct: Array.from({ length: UCAN_LIMITS.bytes }, () => ({})) })],
  ])('%s is too large', async (_, make) => {
    const { error } = await make()
    expect(error?.name).toBe('UCANTooLarge')
    expect(error?.message.length).toBeLessThan(300)
  })

  /** Adds a property itself, also if all objects inherit one of that name. */
  const own = (name: string, value: unknown) => Object.defineProperty({}, name, { value, enumerable: true })

  it.each<[string, () => Promise<Result<object>>]>([
    ['with __proto__', () => withNb(own('__proto__', { group: 'g' }))],
    ['with bytes for __proto__', () => withNb({ a: own('__proto__', new Uint8Array(3)) })],
    ['that overrides toString', () => withNb({ content: { toString: 1 } })],
    ['with a map that passes for a link', async () => withPosingMap()],
    ['of an empty issuer', () => change({ iss: new Uint8Array() })],
    ['with a long text instead of a number', () => change({ exp: 'x'.repeat(10_000) })],
  ])('%s is malformed', async (_, make) => {
    const { error } = await make()
    expect(error?.name).toBe('MalformedUCAN')
    expect(error?.message.length).toBeLessThan(400)
  })

  it.each<[string, number[], string]>([
    ['a secp256k1 key', [0xe7, 0x01, 2, ...bytesOf(1, 32)], 'a secp256k1 key'],
    ['half an Ed25519 key', [0xed, 1, 2, 3], 'not a valid Ed25519 key'],
    ['half an RSA key', [0x85, 0x24, 1, 2, 3], 'not a valid RSA key'],
    [
      'a P-256 point that is not on the curve',
      [0x80, 0x24, 2, ...new Uint8Array(31), 1],
      'not a valid P-256 key',
    ],
  ])('of %s has an unsupported key', async (_, iss, reason) => {
    const { error } = await change({ iss: new Uint8Array(iss) })
    expect(error).toMatchObject({ name: 'UnsupportedKey', message: expect.stringContaining(reason) })
    expect(error?.message).toContain('Ed25519, RSA, P-256')
  })

  it('whose block is missing is not found', () => {
    expect(new Ucans(new Map()).read(`${good.cid}`).error?.name).toBe('UCANNotFound')
  })

  it.each([
    ['none', bytesOf('none', 40)],
    ['lists nested so deep that they would exhaust the stack', new Uint8Array(60_000).fill(0x81)],
  ])('that is %s is malformed', (_, bytes) => {
    const cid = linkOf(bytes, 0x71)
    const ucans = new Ucans(new Map([[`${cid}`, { cid, bytes } as never]]))
    expect(ucans.read(`${cid}`).error?.name).toBe('MalformedUCAN')
  })
})
