import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { parse as parseDid } from '@ipld/dag-ucan/did'
import { view as viewSignature } from '@ipld/dag-ucan/signature'
import type { DID, PrincipalParser, Signer, Verifier } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { varint } from 'multiformats'
import { GoodSignatures } from './good-signatures.ts'
import { parseEdSigner } from './ucanto.ts'

/**
 * Keys by `node:crypto`. Its Ed25519 signatures are the same bytes as those of `@ucanto/principal` (RFC 8032 is
 * deterministic); signing is 9 times faster than in JavaScript, verifying 13 times.
 */

/** A kind of keys whose signatures are verified. */
interface KeyKind {
  name: string
  /** The multicodec of the signature, e.g. EdDSA. */
  signature: number
  /** Reads the bytes of a public key, without their multicodec. Throws if they are not a key of this kind. */
  read(bytes: Uint8Array): KeyObject
  verify(payload: Uint8Array, key: KeyObject, signature: Uint8Array): boolean
}

// DER prefixes of RFC 8410, for a PKCS#8 private key and an SPKI public key. The 32 bytes of the key follow.
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')
const ED25519_SPKI = Buffer.from('302a300506032b6570032100', 'hex')
// The DER prefix of RFC 5480 for a compressed point of P-256. Its 33 bytes follow.
const P256_SPKI = Buffer.from('3039301306072a8648ce3d020106082a8648ce3d030107032200', 'hex')

const readSpki = (prefix: Uint8Array, bytes: Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.concat([prefix, bytes]), format: 'der', type: 'spki' })

/** The sizes of RSA keys in bits. Smaller keys are broken; larger ones take long to verify. */
const RSA_BITS = { min: 2048, max: 4096 }
/** The largest exponent of RSA keys. Almost all keys have 65537; with a large exponent verifying takes long. */
const MAX_RSA_EXPONENT = 2n ** 32n

const readRsa = (bytes: Uint8Array): KeyObject => {
  const key = createPublicKey({ key: Buffer.from(bytes), format: 'der', type: 'pkcs1' })
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {}
  if (modulusLength < RSA_BITS.min || modulusLength > RSA_BITS.max || publicExponent > MAX_RSA_EXPONENT)
    throw new Error(
      `expected an RSA key of ${RSA_BITS.min} to ${RSA_BITS.max} bits with a usual exponent, found ${modulusLength} bits`,
    )
  return key
}

/** The kinds of keys by their multicodec. The signatures are those of `@ucanto/principal` and of WebCrypto. */
const KEY_KINDS: ReadonlyMap<number, KeyKind> = new Map([
  [
    0xed,
    {
      name: 'Ed25519',
      signature: 0xd0ed,
      read: bytes => readSpki(ED25519_SPKI, bytes),
      verify: (payload, key, signature) => verify(null, payload, key, signature),
    },
  ],
  [
    0x1205,
    {
      name: 'RSA',
      signature: 0xd01205,
      read: readRsa,
      verify: (payload, key, signature) => verify('sha256', payload, key, signature),
    },
  ],
  [
    0x1200,
    {
      name: 'P-256',
      signature: 0xd01200,
      read: bytes => readSpki(P256_SPKI, bytes),
      verify: (payload, key, signature) =>
        verify('sha256', payload, { key, dsaEncoding: 'ieee-p1363' }, signature),
    },
  ],
])

/** Kinds of keys that a `did:key` may have and that are not supported, for messages. */
const OTHER_KINDS: Record<number, string> = {
  231: 'secp256k1',
  234: 'BLS12-381',
  235: 'BLS12-381',
  4609: 'P-384',
  4610: 'P-521',
}

/** A `did:key` that is not the key of a supported kind. */
export class UnsupportedKey extends Error {
  override name = 'UnsupportedKey'

  constructor(did: string, found: string) {
    const kinds = [...KEY_KINDS.values()].map(({ name }) => name).join(', ')
    super(`${did.slice(0, 60)} is ${found}. This service verifies signatures of ${kinds} keys`)
  }
}

/** A public key, and its kind. */
interface PublicKey {
  kind: KeyKind
  key: KeyObject
}

const MAX_CACHED_KEYS = 4096
/** By the bytes of the key, as Latin-1. */
const keys = new Map<string, PublicKey>()

/**
 * Reads a public key: the multicodec of its kind, then its bytes. Throws `UnsupportedKey`. Caches the keys, because creating a
 * key object takes 30 µs.
 *
 * @param did returns the text of the `did:key`, which takes long to write
 */
export const readKey = (bytes: Uint8Array, did: () => string): PublicKey => {
  const id = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
  const known = keys.get(id)
  if (known) return known
  const key = createKey(bytes, did)
  if (keys.size >= MAX_CACHED_KEYS) keys.clear()
  keys.set(id, key)
  return key
}

const createKey = (bytes: Uint8Array, did: () => string): PublicKey => {
  const [code, size] = varint.decode(bytes)
  const kind = KEY_KINDS.get(code)
  if (kind === undefined)
    throw new UnsupportedKey(did(), `a ${OTHER_KINDS[code] ?? `0x${code.toString(16)}`} key`)
  try {
    return { kind, key: kind.read(bytes.subarray(size)) }
  } catch (cause) {
    throw new UnsupportedKey(did(), `not a valid ${kind.name} key: ${(cause as Error).message}`)
  }
}

const goodSignatures = new GoodSignatures()

/** Reads a `did:key`. Throws `UnsupportedKey`. */
const parseKey = (did: string): Verifier => {
  const { kind, key } = readKey(readDidKey(did), () => did)
  const verifier = {
    did: () => did,
    toDIDKey: () => did,
    withDID: (other: DID) => ({ ...verifier, did: () => other }),
    verify: (payload: Uint8Array, { code, raw }: { code: number; raw: Uint8Array }) =>
      code === kind.signature &&
      goodSignatures.verifyOnce(did, raw, payload, () => kind.verify(payload, key, raw)),
  }
  return verifier as unknown as Verifier
}

/** Returns the bytes of a `did:key`: the multicodec of its kind, then the key. */
const readDidKey = (did: string): Uint8Array => {
  try {
    if (did.startsWith('did:key:')) return parseDid(did as DID) as unknown as Uint8Array
  } catch {
    // The library does not know its multicodec, or it is not base 58.
  }
  throw new UnsupportedKey(did, 'not a did:key of a known kind')
}

/** The multicodec of EdDSA, and the length of its signatures, as varints. */
const EDDSA = [0xed, 0xa1, 0x03, 64]

/** Returns the view of an Ed25519 signature, which reads its parts when they are needed. */
const toSignature = (raw: Uint8Array) => {
  const bytes = new Uint8Array(EDDSA.length + raw.byteLength)
  bytes.set(EDDSA)
  bytes.set(raw, EDDSA.length)
  return viewSignature(bytes)
}

/**
 * Reads the private key of a service: an Ed25519 key as `@ucanto/principal` formats it.
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
  // Of another object: `did` of this one would define the verifier of the library.
  const verifier = principals.parse(parseEdSigner(key).did())
  Object.defineProperties(signer, {
    verifier: { value: verifier },
    // The library writes the key in base 58 each time.
    did: { value: verifier.did },
    toDIDKey: { value: verifier.did },
    sign: { value: async (payload: Uint8Array) => toSignature(sign(null, payload, privateKey)) },
  })
  return did === undefined || did === signer.did() ? signer : signer.withDID(did as DID)
}

/** Returns a new private key, in the format that `parseSigner` reads. */
export const generateKey = async (): Promise<string> => ed25519.format(await ed25519.generate())

const MAX_CACHED_VERIFIERS = 4096
const verifiers = new Map<string, Verifier>()

/**
 * Reads `did:key`s of Ed25519, RSA and P-256 keys. Throws `UnsupportedKey` on other DIDs. Caches the verifiers, because
 * reading the text of a DID is slow.
 */
export const principals: PrincipalParser = {
  parse(did) {
    const known = verifiers.get(did)
    if (known) return known
    const verifier = parseKey(did)
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
