import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'
import { create as createSignature } from '@ipld/dag-ucan/signature'
import type { DID, PrincipalParser, Signer, Verifier } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { type EdVerifier, parseEdSigner, parseEdVerifier } from './ucanto.ts'

/**
 * Ed25519 by `node:crypto`, on the signer and verifier objects of `@ucanto/principal`. The signatures are the same bytes
 * (RFC 8032 is deterministic). Signing is 9 times faster than in JavaScript, verifying 13 times.
 */

// DER prefixes of RFC 8410, for a PKCS#8 private key and an SPKI public key. The 32 bytes of the key follow.
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')
const SPKI = Buffer.from('302a300506032b6570032100', 'hex')

/** Has `node:crypto` verify signatures. */
const verifyNatively = (verifier: EdVerifier): Verifier => {
  const key = createPublicKey({
    key: Buffer.concat([SPKI, verifier.publicKey]),
    format: 'der',
    type: 'spki',
  })
  return Object.defineProperties(verifier, {
    verify: {
      value: (payload: Uint8Array, signature: { code: number; raw: Uint8Array }) =>
        signature.code === verifier.signatureCode && verify(null, payload, key, signature.raw),
    },
  })
}

/**
 * Reads a private key as `@ucanto/principal` formats it.
 *
 * @param key e.g. `MgCZ…`
 * @param did the `did:web` that the signer acts under, e.g. `did:web:dealer.example.com`; default: the `did:key` of the key
 */
export const parseSigner = (key: string, did?: string): Signer => {
  const signer = parseEdSigner(key)
  const privateKey = createPrivateKey({
    key: Buffer.concat([PKCS8, signer.secret]),
    format: 'der',
    type: 'pkcs8',
  })
  Object.defineProperties(signer, {
    verifier: { value: verifyNatively(signer.verifier) },
    sign: {
      value: async (payload: Uint8Array) =>
        createSignature(signer.signatureCode, sign(null, payload, privateKey)),
    },
  })
  return did === undefined || did === signer.did() ? signer : signer.withDID(did as DID)
}

/** Returns a new private key, in the format that `parseSigner` reads. */
export const generateKey = async (): Promise<string> => ed25519.format(await ed25519.generate())

const MAX_CACHED_VERIFIERS = 4096
const verifiers = new Map<string, Verifier>()

/** Reads `did:key`s of Ed25519 keys; throws on other DIDs. Caches the verifiers, because creating a key object is slow. */
export const principals: PrincipalParser = {
  parse(did) {
    const known = verifiers.get(did)
    if (known) return known
    const verifier = verifyNatively(parseEdVerifier(did))
    if (verifiers.size >= MAX_CACHED_VERIFIERS) verifiers.clear()
    verifiers.set(did, verifier)
    return verifier
  },
}

/** A source of the keys that sign for a principal. */
export interface Keys {
  /** Returns the known keys. Throws if none are known and they cannot be fetched now. */
  known(): Promise<readonly DID<'key'>[]>
  /** Returns the present keys. Called when no known key verifies a signature. */
  renew(): Promise<readonly DID<'key'>[]>
}

/** A source that always returns these keys. */
export const fixedKeys = (keys: readonly DID<'key'>[]): Keys => ({
  known: async () => keys,
  renew: async () => keys,
})

/** Returns a verifier for a principal that may have several keys, and may change them. */
export const verifierOf = (did: DID, keys: Keys): Verifier => {
  const verifier = {
    did: () => did,
    // A principal may have several keys, so no single `did:key` is right. Libraries use this in error messages only.
    toDIDKey: () => did,
    withDID: () => verifier,
    verify: async (payload: never, signature: never): Promise<boolean> => {
      const verifyByOneOf = async (candidates: readonly DID<'key'>[]) => {
        for (const key of candidates) if (await principals.parse(key).verify(payload, signature)) return true
        return false
      }
      const known = await keys.known()
      if (await verifyByOneOf(known)) return true
      const renewed = await keys.renew()
      return renewed !== known && verifyByOneOf(renewed)
    },
  }
  return verifier as unknown as Verifier
}
