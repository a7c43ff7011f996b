import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'
import { create as createSignature } from '@ipld/dag-ucan/signature'
import type { DID, PrincipalParser, Signer, Verifier } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { type EdVerifier, parseEdSigner, parseEdVerifier } from './ucanto.ts'

/**
 * Ed25519 by `node:crypto`, on the signer and verifier objects of `@ucanto/principal`: signatures are the same
 * bytes (RFC 8032 is deterministic), 9 times faster to make and 13 times faster to check than in JavaScript.
 */

// DER prefixes of RFC 8410: a PKCS#8 private key, an SPKI public key; the 32 bytes of the key follow.
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')
const SPKI = Buffer.from('302a300506032b6570032100', 'hex')

const native = (verifier: EdVerifier): Verifier => {
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

/** Reads a private key as `@ucanto/principal` formats it (`MgCZ…`), optionally acting under a `did:web`. */
export const parseSigner = (key: string, did?: string): Signer => {
  const signer = parseEdSigner(key)
  const privateKey = createPrivateKey({
    key: Buffer.concat([PKCS8, signer.secret]),
    format: 'der',
    type: 'pkcs8',
  })
  Object.defineProperties(signer, {
    verifier: { value: native(signer.verifier) },
    sign: {
      value: async (payload: Uint8Array) =>
        createSignature(signer.signatureCode, sign(null, payload, privateKey)),
    },
  })
  return did === undefined || did === signer.did() ? signer : signer.withDID(did as DID)
}

/** A new key pair, as `parseSigner` reads it. */
export const generateKey = async (): Promise<string> => ed25519.format(await ed25519.generate())

const MAX_CACHED = 4096
const parsed = new Map<string, Verifier>()

/** Reads `did:key`s of Ed25519 keys; throws on others. Keys seen lately are kept, up to a bound. */
export const principals: PrincipalParser = {
  parse(did) {
    const known = parsed.get(did)
    if (known) return known
    const verifier = native(parseEdVerifier(did))
    if (parsed.size >= MAX_CACHED) parsed.clear()
    parsed.set(did, verifier)
    return verifier
  },
}

/** Where the keys that sign for a principal come from. */
export interface Keys {
  /** Those that sign for it, as far as is known. Throws when nothing is known and can not be found out now. */
  known(): Promise<readonly DID<'key'>[]>
  /** Asked when a signature is by none of them: those that sign for it since. */
  renewed(): Promise<readonly DID<'key'>[]>
}

export const fixedKeys = (keys: readonly DID<'key'>[]): Keys => ({
  known: async () => keys,
  renewed: async () => keys,
})

/** Checks signatures of a principal that may have several keys, and may change them. */
export const verifierOf = (did: DID, keys: Keys): Verifier => {
  const verifier = {
    did: () => did,
    // There are several. Libraries ask for it to say whose signature a wrong one is not.
    toDIDKey: () => did,
    withDID: () => verifier,
    verify: async (payload: never, signature: never): Promise<boolean> => {
      const byOneOf = async (tried: readonly DID<'key'>[]) => {
        for (const key of tried) if (await principals.parse(key).verify(payload, signature)) return true
        return false
      }
      const known = await keys.known()
      if (await byOneOf(known)) return true
      const renewed = await keys.renewed()
      return renewed !== known && byOneOf(renewed)
    },
  }
  return verifier as unknown as Verifier
}
