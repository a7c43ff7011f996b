import type { Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Keyring } from '../src/keys.ts'

describe('Keyring', () => {
  const did = 'did:web:127.0.0.1%3A4001'
  let keys: Signer[]
  let published: Signer

  beforeEach(async () => {
    keys = (await Promise.all([1, 2].map(() => ed25519.generate()))) as Signer[]
    published = keys[0]!
    vi.useFakeTimers()
  })
  afterEach(() => void vi.useRealTimers())

  const fetch = vi.fn(async (_url: string) => {
    const publicKeyMultibase = published.did().slice('did:key:'.length)
    const method = { id: '#0', type: 'Multikey', controller: did, publicKeyMultibase }
    return Response.json({ id: did, verificationMethod: [method], assertionMethod: ['#0'] })
  })
  beforeEach(() => void fetch.mockClear())

  const signedBy = (signer: Signer) => async (verifiers: readonly { toDIDKey(): string }[]) =>
    verifiers.some(verifier => verifier.toDIDKey() === signer.did())

  it('reads the document of a did:web from its own host, once', async () => {
    const keyring = new Keyring(fetch)
    for (let n = 0; n < 3; n++) expect(await keyring.check(did, signedBy(keys[0]!))).toBe(true)
    expect(fetch.mock.calls.map(([url]) => url)).toEqual(['http://127.0.0.1:4001/.well-known/did.json'])
    expect((await keyring.verifiers(did)).map(verifier => verifier.did())).toEqual([did])
  })

  it('reads changed keys again, at most once a minute', async () => {
    const keyring = new Keyring(fetch)
    expect(await keyring.check(did, signedBy(keys[0]!))).toBe(true)
    published = keys[1]!
    for (let n = 0; n < 5; n++) expect(await keyring.check(did, signedBy(keys[1]!))).toBe(false)
    expect(fetch).toHaveBeenCalledTimes(1)
    vi.advanceTimersByTime(60_000)
    expect(await keyring.check(did, signedBy(keys[1]!))).toBe(true)
    expect(fetch).toHaveBeenCalledTimes(2)
  })

  it('does not remember that a host was unreachable', async () => {
    const keyring = new Keyring(fetch)
    fetch.mockResolvedValueOnce(new Response('not JSON'))
    await expect(keyring.verifiers(did)).rejects.toMatchObject({ code: 'UnknownKeys' })
    expect(await keyring.verifiers(did)).toHaveLength(1)
  })

  it('asks no host about a did:key, pinned keys, or other methods', async () => {
    const keyring = new Keyring(fetch)
    expect(await keyring.verifiers(keys[0]!.did())).toHaveLength(1)
    expect(await keyring.verifiers({ did, keys: [keys[0]!.did()] })).toHaveLength(1)
    for (const other of ['did:web:a.example:path', 'did:mailto:example.com:alice', 'did:web:A.example'])
      await expect(keyring.verifiers(other)).rejects.toMatchObject({ code: 'UnknownKeys' })
    expect(fetch).not.toHaveBeenCalled()
  })
})
