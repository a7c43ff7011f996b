import type { RequestListener } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { DID, Signer } from '@ucanto/interface'
import { hostFetch } from '@w3filecoin/aws'
import { bytesOf, documentOf, signerOf, startWebHost, type WebHost } from '@w3filecoin/testing'
import { base58btc } from 'multiformats/bases/base58'
import { base64url } from 'multiformats/bases/base64'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Authority, configuredPeers, type Fetch, type PeerConfig } from '../src/index.ts'
import { documentUrl } from '../src/ucan/did-web.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND

const service = await signerOf('service')
const payload = bytesOf('payload', 100)
const keyOf = async (name: string) => (await signerOf(name)).did()

let host: WebHost
let clock: number
const logged: object[] = []

beforeEach(async () => {
  clock = 1_800_000_000_000
  logged.length = 0
  host = await startWebHost(await keyOf('first'))
})
afterEach(() => host.stop())

const authorityOf = (
  peers: PeerConfig[] = [{ did: host.did }],
  { fetch = hostFetch({ allowPrivate: true }), allowPrivate = true } = {},
) =>
  new Authority({
    peers: configuredPeers(peers),
    didWeb: { fetch, now: () => clock, allowPrivate, log: (_, __, fields) => logged.push(fields as object) },
  })

/**
 * Returns whether a signature by the named key verifies under the `did:web`, checked as `@ucanto/server` does. Returns
 * `unresolved` if the DID has no keys.
 */
const verify = async (authority: Authority, name: string, did: DID = host.did) => {
  const { principal, resolveDIDKey } = authority.context(service)
  const resolved = await resolveDIDKey(did)
  if (resolved.error) return 'unresolved'
  const signer: Signer = await signerOf(name, did)
  const signature = await signer.sign(payload)
  return principal.parse(resolved.ok[0] as DID).verify(payload, signature as never)
}

const answer =
  (
    body: unknown,
    { status = 200, ...headers }: { status?: number; [header: string]: unknown } = {},
  ): RequestListener =>
  (_, response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers } as never)
    response.end(typeof body === 'string' ? body : JSON.stringify(body))
  }

describe('the keys of a did:web', () => {
  it('are fetched from its host, in one request for concurrent signatures', async () => {
    const authority = authorityOf()
    const all = await Promise.all(Array.from({ length: 20 }, () => verify(authority, 'first')))
    expect(all).toEqual(Array(20).fill(true))
    expect(host.asked).toBe(1)
    expect(await verify(authority, 'other')).toBe(false)
  })

  it('are remembered for the 1024 hosts that were used last', async () => {
    const asked: string[] = []
    const fetch: Fetch = async url => {
      asked.push(new URL(url).host)
      return Response.json({})
    }
    const dids = Array.from({ length: 1025 }, (_, n): DID => `did:web:host-${n}.example`)
    const authority = authorityOf(
      dids.map(did => ({ did })),
      { fetch },
    )
    for (const did of dids.slice(0, 1024)) await verify(authority, 'first', did)
    await verify(authority, 'first', dids[0])
    expect(asked).toHaveLength(1024)
    await verify(authority, 'first', dids[1024])
    await verify(authority, 'first', dids[0])
    expect(asked.slice(1024), 'the first was used again, and is remembered').toEqual(['host-1024.example'])
    await verify(authority, 'first', dids[1])
    expect(asked.slice(1025)).toEqual(['host-1.example'])
  })

  it('are not fetched if the configuration lists them, or does not name the did:web', async () => {
    const authority = authorityOf([{ did: host.did, keys: [(await keyOf('configured')) as never] }])
    expect(await verify(authority, 'configured')).toBe(true)
    expect(await verify(authority, 'first')).toBe(false)
    expect(await verify(authorityOf([]), 'first')).toBe('unresolved')
    expect(await verify(authorityOf([{ did: 'did:web:other.example' }]), 'first')).toBe('unresolved')
    expect(host.asked).toBe(0)
  })

  it('are valid for five minutes', async () => {
    const authority = authorityOf()
    await verify(authority, 'first')
    host.keys = [await keyOf('second')]
    clock += 5 * MINUTE - 1
    expect(await verify(authority, 'first')).toBe(true)
    expect(host.asked).toBe(1)
    clock += 1
    expect(await verify(authority, 'first')).toBe(false)
    expect(await verify(authority, 'second')).toBe(true)
    expect(host.asked).toBe(2)
  })

  it('are fetched early when none of them verifies a signature, at most once in 30 seconds', async () => {
    const authority = authorityOf()
    await verify(authority, 'first')
    host.keys = [await keyOf('second')]
    clock += 30 * SECOND - 1
    expect(await verify(authority, 'second')).toBe(false)
    expect(host.asked).toBe(1)
    clock += 1
    expect(await Promise.all([verify(authority, 'second'), verify(authority, 'second')])).toEqual([
      true,
      true,
    ])
    expect(await verify(authority, 'first'), 'the former key').toBe(false)
    expect(host.asked).toBe(2)
    for (let n = 0; n < 10; n++) expect(await verify(authority, 'forger')).toBe(false)
    expect(host.asked).toBe(2)
  })

  it('change independently of the keys of other hosts', async () => {
    const other = await startWebHost(await keyOf('other'))
    const authority = authorityOf([{ did: host.did }, { did: other.did }])
    await Promise.all([verify(authority, 'first'), verify(authority, 'other', other.did)])
    host.keys = [await keyOf('second')]
    clock += MINUTE
    expect(await verify(authority, 'second')).toBe(true)
    expect(await verify(authority, 'other', other.did)).toBe(true)
    expect(await verify(authority, 'second', other.did)).toBe(false)
    expect(host.asked).toBe(2)
    await other.stop()
  })

  it('stay valid for an hour while the host is unreachable, and are requested at most every ten seconds', async () => {
    const authority = authorityOf()
    await verify(authority, 'first')
    host.answer = answer('later', { status: 503 })
    clock += 5 * MINUTE
    for (let n = 0; n < 10; n++) expect(await verify(authority, 'first')).toBe(true)
    expect(host.asked).toBe(2)
    host.answer = answer('too often', { status: 429 })
    clock += 10 * SECOND
    expect(await verify(authority, 'first')).toBe(true)
    expect(host.asked).toBe(3)
    clock += 55 * MINUTE - 10 * SECOND - 1
    expect(await verify(authority, 'first')).toBe(true)
    clock += 1
    await expect(verify(authority, 'first')).rejects.toThrow(`The keys of ${host.did} cannot be read`)
    host.answer = undefined
    clock += 10 * SECOND
    expect(await verify(authority, 'first')).toBe(true)
  })

  it('are unknown if the host was never reached', async () => {
    const authority = authorityOf()
    await host.stop()
    await expect(verify(authority, 'first')).rejects.toThrow('cannot be read')
    await expect(authority.signed({ issuer: undefined } as never, { did: () => host.did })).rejects.toThrow(
      'cannot be read',
    )
    expect(logged, 'asked once').toHaveLength(1)
  })

  it('are discarded once the host publishes none', async () => {
    const authority = authorityOf()
    await verify(authority, 'first')
    host.answer = answer('gone', { status: 404 })
    clock += 5 * MINUTE
    expect(await verify(authority, 'first')).toBe('unresolved')
    clock += 10 * SECOND - 1
    expect(await verify(authority, 'first')).toBe('unresolved')
    expect(host.asked).toBe(2)
    host.answer = undefined
    clock += 1
    expect(await verify(authority, 'first')).toBe(true)
  })

  it('are waited for at most five seconds, including the body', async () => {
    const silent = await startWebHost()
    silent.answer = () => {}
    host.answer = async (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      while (!response.destroyed) {
        response.write(' ')
        await sleep(100)
      }
    }
    const authority = authorityOf([{ did: host.did }, { did: silent.did }])
    const began = performance.now()
    await Promise.all([
      expect(verify(authority, 'first')).rejects.toThrow('cannot be read'),
      expect(verify(authority, 'first', silent.did)).rejects.toThrow('cannot be read'),
    ])
    expect(performance.now() - began).toBeGreaterThan(4_900)
    await silent.stop()
  })
})

describe('a DID document', () => {
  const method = async (name: string, more: object = {}) => ({
    ...documentOf(host.did, [await keyOf(name)]).verificationMethod[0],
    ...more,
  })
  const documentWith = (...verificationMethod: unknown[]) => ({ id: host.did, verificationMethod })
  /** The raw key follows the two-byte multicodec prefix. */
  const rawKey = async (name: string) =>
    base58btc.decode((await keyOf(name)).slice('did:key:'.length)).slice(2)
  const jwk = async (name: string) => ({
    id: `${host.did}#${name}`,
    controller: host.did,
    type: 'JsonWebKey2020',
    publicKeyJwk: {
      kty: 'OKP',
      crv: 'Ed25519',
      x: base64url.baseEncode(await rawKey(name)),
    },
  })
  const base58 = async (name: string, more: object = {}) => ({
    id: `${host.did}#${name}`,
    controller: host.did,
    type: 'Ed25519VerificationKey2018',
    publicKeyBase58: base58btc.baseEncode(await rawKey(name)),
    ...more,
  })

  it.each<[string, () => Promise<unknown>]>([
    ['of type Multikey', () => method('first')],
    ['of type Ed25519VerificationKey2020', () => method('first', { type: 'Ed25519VerificationKey2020' })],
    ['of type JsonWebKey2020', () => jwk('first')],
    ['of type Ed25519VerificationKey2018', () => base58('first')],
    ['without a controller, and with an id of the DID', () => method('first', { controller: undefined })],
    [
      'without a controller, and with a relative id',
      () => method('first', { controller: undefined, id: '#a' }),
    ],
    ['without a controller and id', () => method('first', { controller: undefined, id: undefined })],
    ['whose id is not a text', () => method('first', { id: null })],
    ['of type JsonWebKey', async () => ({ ...(await jwk('first')), type: 'JsonWebKey' })],
    ['that expire in the future', () => method('first', { expires: '2099-01-01T00:00:00Z' })],
  ])('may have keys %s', async (_, make) => {
    host.answer = answer(documentWith(await make()), {
      'content-type': 'application/did+ld+json; charset=utf-8',
    })
    expect(await verify(authorityOf(), 'first')).toBe(true)
  })

  it('may have many keys, and keys of other types among them', async () => {
    const p256 = {
      ...(await jwk('first')),
      publicKeyJwk: { kty: 'EC', crv: 'P-256', x: 'x', y: 'y' },
    }
    const x25519 = await method('first', {
      publicKeyMultibase: 'z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc',
    })
    host.answer = answer(documentWith(p256, x25519, 'none', null, await method('second'), await jwk('third')))
    const authority = authorityOf()
    expect(await verify(authority, 'second')).toBe(true)
    expect(await verify(authority, 'third')).toBe(true)
    expect(await verify(authority, 'first')).toBe(false)
  })

  it.each(['authentication', 'assertionMethod', 'capabilityInvocation', 'capabilityDelegation'])(
    'may have keys of every type embedded in %s',
    async relationship => {
      const methods = [
        await method('first'),
        await jwk('second'),
        await base58('third', { controller: undefined }),
      ]
      host.answer = answer({ id: host.did, [relationship]: [...methods, `${host.did}#elsewhere`] })
      const authority = authorityOf()
      for (const name of ['first', 'second', 'third']) expect(await verify(authority, name)).toBe(true)
      expect(await verify(authority, 'forger')).toBe(false)
    },
  )

  it('may have its only key without a list', async () => {
    host.answer = answer({ id: host.did, authentication: await base58('first') })
    expect(await verify(authorityOf(), 'first')).toBe(true)
    host.answer = answer({
      id: host.did,
      verificationMethod: await base58('second'),
      authentication: '#second',
    })
    expect(await verify(authorityOf(), 'second')).toBe(true)
  })

  it.each<[string, (id: string) => object, boolean]>([
    ['is in no relationship', () => ({}), true],
    ['signs', id => ({ assertionMethod: [id] }), true],
    ['signs and encrypts', id => ({ capabilityInvocation: [id], keyAgreement: [id] }), true],
    ['only encrypts', id => ({ keyAgreement: [id] }), false],
  ])('may have a listed key that %s', async (_, relationships, counts) => {
    const id = `${host.did}#key`
    for (const [listed, referred] of [
      [id, id],
      [id, '#key'],
      ['#key', id],
      ['#key', '#key'],
    ] as const) {
      const document = documentWith(await method('first', { id: listed }), await method('second'))
      host.answer = answer({ ...document, ...relationships(referred) })
      const authority = authorityOf()
      expect(await verify(authority, 'first')).toBe(counts)
      expect(await verify(authority, 'second')).toBe(true)
    }
  })

  it('may have 32 verification methods in all', async () => {
    const methods = await Promise.all(Array.from({ length: 32 }, (_, n) => base58(`key ${n}`)))
    const [authentication, assertionMethod, keyAgreement] = [
      methods.slice(0, 9),
      methods.slice(9, 12),
      methods.slice(12, 14),
    ]
    const verificationMethod = methods.slice(14)
    const references = verificationMethod.map(({ id }) => id)
    const document = {
      id: host.did,
      verificationMethod,
      authentication: [...authentication, ...references],
      assertionMethod: [...assertionMethod, ...references],
      keyAgreement,
    }
    host.answer = answer(document)
    expect(await verify(authorityOf(), 'key 0')).toBe(true)
    expect(await verify(authorityOf(), 'key 12')).toBe(false)
    host.answer = answer({ ...document, keyAgreement: [...keyAgreement, await base58('another')] })
    expect(await verify(authorityOf(), 'key 0')).toBe('unresolved')
  })

  it.each<[string, () => RequestListener | Promise<RequestListener>]>([
    [
      'with keys that are embedded in keyAgreement only',
      async () => answer({ id: host.did, keyAgreement: [await base58('first')] }),
    ],
    [
      'with embedded keys of another controller',
      async () =>
        answer({ id: host.did, authentication: [await base58('first', { controller: 'did:web:x' })] }),
    ],
    [
      'with keys without a controller, whose id is of another DID',
      async () =>
        answer({
          id: host.did,
          authentication: [await base58('first', { controller: undefined, id: 'did:web:x#a' })],
        }),
    ],
    [
      'with keys whose controller is not a text',
      async () => answer(documentWith(await method('first', { controller: null }))),
    ],
    [
      'with embedded keys that were revoked',
      async () =>
        answer({
          id: host.did,
          authentication: [await base58('first', { revoked: '2020-01-01T00:00:00Z' })],
        }),
    ],
    [
      'with keys of 31 bytes',
      async () =>
        answer(
          documentWith(
            await base58('first', {
              publicKeyBase58: base58btc.baseEncode((await rawKey('first')).slice(1)),
            }),
          ),
        ),
    ],
    [
      'with keys that are not base58',
      async () => answer(documentWith(await base58('first', { publicKeyBase58: '0'.repeat(44) }))),
    ],
    [
      'of another DID with our keys',
      async () => answer({ ...documentOf(host.did, [await keyOf('first')]), id: 'did:web:127.0.0.1' }),
    ],
    ['without keys', () => answer(documentWith())],
    ['without verification methods', () => answer({ id: host.did })],
    [
      'with keys of another controller',
      async () => answer(documentWith(await method('first', { controller: 'did:web:x' }))),
    ],
    [
      'with keys that were revoked',
      async () => answer(documentWith(await method('first', { revoked: '2020-01-01T00:00:00Z' }))),
    ],
    [
      'with keys that expired',
      async () => answer(documentWith(await method('first', { expires: '2020-01-01T00:00:00+01:00' }))),
    ],
    [
      'with keys whose expiry is not a date',
      async () => answer(documentWith(await method('first', { expires: 'soon' }))),
    ],
    [
      'with broken keys',
      async () => answer(documentWith(await method('first', { publicKeyMultibase: 'z6Mkfoo' }))),
    ],
    [
      'with too many verification methods',
      async () => answer(documentWith(...Array(33).fill(await method('first')))),
    ],
    [
      'that is too large',
      async () => answer({ ...documentWith(await method('first')), more: 'x'.repeat(64 * 1024) }),
    ],
    ['that is not JSON', () => answer('{')],
    ['that is not an object', () => answer('[]')],
    [
      'with another content type',
      async () => answer(documentWith(await method('first')), { 'content-type': 'text/html' }),
    ],
    ['that is empty', () => answer('', { status: 204 })],
    ['that is missing', () => answer('{}', { status: 404 })],
  ])('%s is rejected as invalid', async (_, make) => {
    host.answer = await make()
    expect(await verify(authorityOf(), 'first')).toBe('unresolved')
    expect(host.asked).toBe(1)
    expect(logged).toMatchObject([{ did: host.did, reason: { name: 'InvalidDIDDocument' } }])
  })

  it('without an end is read only up to the limit', async () => {
    let sent = 0
    host.answer = async (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      while (!response.destroyed) {
        response.write(' '.repeat(16 * 1024))
        sent += 16 * 1024
        await sleep(1)
      }
    }
    expect(await verify(authorityOf(), 'first')).toBe('unresolved')
    expect(sent).toBeLessThan(4 * 1024 * 1024)
  })

  it('behind a redirect is not fetched', async () => {
    const elsewhere = await startWebHost(await keyOf('first'))
    elsewhere.answer = answer(documentOf(host.did, [await keyOf('first')]))
    const location = documentUrl(elsewhere.did, { allowPrivate: true })
    for (const status of [301, 302, 307, 308]) {
      host.answer = answer('', { status, location })
      expect(await verify(authorityOf(), 'first')).toBe('unresolved')
    }
    expect([host.asked, elsewhere.asked]).toEqual([4, 0])
    await elsewhere.stop()
  })
})

describe('the URL of the DID document', () => {
  it.each<[string, string | undefined, string | undefined]>([
    ['did:web:peer.example', 'https://peer.example/.well-known/did.json', undefined],
    ['did:web:peer.example%3A8443', 'https://peer.example:8443/.well-known/did.json', undefined],
    [
      'did:web:localhost%3a80',
      'https://localhost:80/.well-known/did.json',
      'http://localhost/.well-known/did.json',
    ],
    [
      'did:web:127.0.0.1%3A81',
      'https://127.0.0.1:81/.well-known/did.json',
      'http://127.0.0.1:81/.well-known/did.json',
    ],
    ['did:web:10.0.0.1', 'https://10.0.0.1/.well-known/did.json', undefined],
  ])('of %s is %s', (did, url, local = url) => {
    expect(documentUrl(did, { allowPrivate: false })).toBe(url)
    expect(documentUrl(did, { allowPrivate: true })).toBe(local)
  })

  it.each([
    'did:web:peer.example:users:alice',
    'did:web:peer.example%2Fpath',
    'did:web:peer.example%3A99999',
    'did:web:peer.example%3A80%40other.example',
    'did:web:user@peer.example',
    'did:web:peer.example?x',
    'did:web:Peer.example',
    'did:web:0x7f.1',
    'did:web:127.1',
    'did:web:2130706433',
    'did:web:%5B%3A%3A1%5D',
    'did:web:',
    'did:key:z6Mk',
  ])('of %s is undefined', did => {
    expect(documentUrl(did, { allowPrivate: true })).toBeUndefined()
  })

  it('is required unless the configuration lists the keys', async () => {
    const did = 'did:web:peer.example:users:alice'
    await expect(verify(authorityOf([{ did }]), 'first', did)).rejects.toThrow(did)
    const authority = authorityOf([{ did, keys: [(await keyOf('first')) as never] }])
    expect(await verify(authority, 'first', did)).toBe(true)
  })

  it('is not called if its address is private', async () => {
    const { port } = new URL(documentUrl(host.did, { allowPrivate: true }) as string)
    const dids = [host.did, `did:web:localhost%3A${port}`, `did:web:peer.example%3A${port}`] as const
    const lookup: Parameters<typeof hostFetch>[0]['lookup'] = (_, { all }, callback) =>
      callback(null, all ? [{ address: '127.0.0.1', family: 4 }] : '127.0.0.1', 4)
    const fetch: Fetch = hostFetch({ allowPrivate: false, lookup })
    const authority = authorityOf(
      dids.map(did => ({ did })),
      { fetch, allowPrivate: false },
    )
    for (const did of dids) await expect(verify(authority, 'first', did)).rejects.toThrow('cannot be read')
    expect(logged.map(fields => `${(fields as { cause: Error }).cause.message}`)).toEqual(
      ['127.0.0.1', 'localhost', 'peer.example'].map(name => `${name} has no public address`),
    )
    expect(host.asked).toBe(0)
  })
})
