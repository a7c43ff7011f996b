import type { Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { bytesOf, keyOf } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import {
  Authority,
  configuredPeers,
  generateKey,
  type PeerConfig,
  parseSigner,
  principals,
} from '../src/index.ts'

/** `@ucanto/principal` is the oracle: both make the same signatures, and each verifies those of the other. */
describe('signing', () => {
  const payloads = [0, 1, 63, 64, 65, 1000, 100_000].map(length => bytesOf(`payload ${length}`, length))

  it.each(['alice', 'bob', 'carol'])('returns the same bytes as the published library: %s', async name => {
    const key = await keyOf(name)
    const [ours, theirs] = [parseSigner(key), ed25519.parse(key)]
    expect(ours.did()).toBe(theirs.did())
    for (const payload of payloads) {
      const [signature, expected] = [await ours.sign(payload), await theirs.sign(payload)]
      expect(new Uint8Array(signature)).toEqual(new Uint8Array(expected))
      for (const verifier of [theirs.verifier, ours.verifier, principals.parse(ours.did())])
        expect(await verifier.verify(payload, signature as never)).toBe(true)
      expect(await principals.parse(theirs.did()).verify(payload, expected as never)).toBe(true)
    }
  })

  it('is rejected if a bit of the payload or of the signature is changed', async () => {
    const signer = parseSigner(await keyOf('alice'))
    const [payload] = payloads.slice(-2) as [Uint8Array]
    const signature = await signer.sign(payload)
    for (const verifier of [signer.verifier, principals.parse(signer.did())]) {
      expect(await verifier.verify(payload.with(3, payload[3]! ^ 1), signature as never)).toBe(false)
      for (const at of [0, 31, 32, 63]) {
        const { code, raw } = signature as { code: number; raw: Uint8Array }
        const forged = { code, raw: raw.with(at, raw[at]! ^ 1) }
        expect(await verifier.verify(payload, forged as never)).toBe(false)
        expect(await verifier.verify(payload, { code: code + 1, raw } as never)).toBe(false)
        expect(await verifier.verify(payload, { code, raw: raw.subarray(0, at) } as never)).toBe(false)
      }
    }
    expect(
      await principals.parse(parseSigner(await keyOf('bob')).did()).verify(payload, signature as never),
    ).toBe(false)
  })

  it('under a did:web uses its key', async () => {
    const key = await keyOf('alice')
    const signer = parseSigner(key, 'did:web:alice.example')
    expect(signer.did()).toBe('did:web:alice.example')
    expect(signer.toDIDKey()).toBe(parseSigner(key).did())
    const payload = payloads[2]!
    expect(new Uint8Array(await signer.sign(payload))).toEqual(
      new Uint8Array(await ed25519.parse(key).sign(payload)),
    )
    expect(await signer.verifier.verify(payload, (await signer.sign(payload)) as never)).toBe(true)
  })

  it('works with generated keys', async () => {
    const [one, two] = [await generateKey(), await generateKey()]
    expect(one).not.toBe(two)
    expect(ed25519.parse(one).did()).toBe(parseSigner(one).did())
  })

  it.each(['did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc', 'did:key:zzz', 'did:web:a', ''])(
    'rejects any other principal: %s',
    did => {
      expect(() => principals.parse(did as never)).toThrow()
    },
  )
})

describe('Authority', () => {
  const DID = 'did:web:known'
  const payload = new TextEncoder().encode('payload')

  it('accepts signatures by any key that the configuration lists for a did:web, and by no other key', async () => {
    const [one, two, other] = await Promise.all(
      [1, 2, 3].map(async () => parseSigner(await generateKey(), DID)),
    )
    const keys = [one, two].map(signer => signer!.toDIDKey())
    const { principal, resolveDIDKey } = new Authority({
      peers: configuredPeers([{ did: DID, keys }]),
    }).context(parseSigner(await generateKey()))
    const { ok: [resolved] = [] } = await resolveDIDKey(DID)
    const verifier = principal.parse(resolved as never).withDID(DID)
    expect(verifier.did()).toBe(DID)
    const taken = async (signer?: Signer) => verifier.verify(payload, (await signer!.sign(payload)) as never)
    await expect(Promise.all([one, two, other].map(taken))).resolves.toEqual([true, true, false])
  })

  it.each(['did:web:keyless', 'did:web:unknown', 'did:web:constructor', 'did:mailto:web.mail:alice'])(
    'has no keys of %s',
    async did => {
      const authority = new Authority({
        peers: configuredPeers([{ did: DID, keys: [parseSigner(await generateKey()).toDIDKey()] }]),
      })
      const { resolveDIDKey } = authority.context(parseSigner(await generateKey()))
      await expect(resolveDIDKey(did as never)).resolves.toMatchObject({
        error: { name: 'DIDKeyResolutionError' },
      })
    },
  )

  it('looks a peer up whenever it needs its keys', async () => {
    const signer = parseSigner(await generateKey(), DID)
    const peers = new Map<string, PeerConfig>()
    const { principal, resolveDIDKey } = new Authority({
      peers: { find: async did => peers.get(did) },
    }).context(parseSigner(await generateKey()))
    const isKnown = async () => (await resolveDIDKey(DID)).ok !== undefined
    expect(await isKnown()).toBe(false)
    peers.set(DID, { did: DID, keys: [signer.toDIDKey()] })
    expect(await isKnown()).toBe(true)
    const verifier = principal.parse(DID)
    const signature = (await signer.sign(payload)) as never
    expect(await verifier.verify(payload, signature)).toBe(true)
    peers.delete(DID)
    expect(await isKnown()).toBe(false)
    expect(await verifier.verify(payload, signature)).toBe(false)
  })

  it('rejects if the peers cannot be read', async () => {
    const { resolveDIDKey } = new Authority({
      peers: { find: async () => Promise.reject(new Error('throttled')) },
    }).context(parseSigner(await generateKey()))
    await expect(resolveDIDKey(DID)).rejects.toThrow('throttled')
  })

  it('uses only the own key of a did:key', async () => {
    const [one, other] = [parseSigner(await generateKey()), parseSigner(await generateKey())]
    const authority = new Authority({
      peers: configuredPeers([{ did: one.did(), keys: [other.toDIDKey()] }]),
    })
    const { principal } = authority.context(parseSigner(await generateKey()))
    const verifier = principal.parse(one.did())
    expect(await verifier.verify(payload, (await one.sign(payload)) as never)).toBe(true)
    expect(await verifier.verify(payload, (await other.sign(payload)) as never)).toBe(false)
  })
})
