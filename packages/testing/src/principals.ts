import { hash } from 'node:crypto'
import { create as createSignature } from '@ipld/dag-ucan/signature'
import type { DID, Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import * as rsa from '@ucanto/principal/rsa'
import { parseSigner } from '@w3filecoin/runtime'
import { base58btc } from 'multiformats/bases/base58'

/** Returns the private key for a name, the same in every run, e.g. `MgCZ…`. */
export const keyOf = async (name: string): Promise<string> =>
  ed25519.format(await ed25519.derive(hash('sha256', name, 'buffer')))

/** Returns a signer with {@link keyOf}, optionally under a `did:web`. */
export const signerOf = async (name: string, did?: DID): Promise<Signer> =>
  parseSigner(await keyOf(name), did)

/** Returns several signers by their names. */
export const signersOf = async <const N extends string>(...names: N[]): Promise<Record<N, Signer>> =>
  Object.fromEntries(await Promise.all(names.map(async name => [name, await signerOf(name)]))) as never

/** Returns a new RSA key, as browsers make them with `@ucanto/principal`. */
export const rsaSigner = async (): Promise<Signer> => (await rsa.generate()) as unknown as Signer

const ES256 = 0xd01200
const P256_MULTICODEC = [0x80, 0x24]
const ECDSA = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }

/** Returns a new P-256 key that signs with WebCrypto. */
export const p256Signer = async (): Promise<Signer> => {
  const { subtle } = globalThis.crypto
  const keys = await subtle.generateKey(ECDSA, false, ['sign', 'verify'])
  const [, ...point] = new Uint8Array(await subtle.exportKey('raw', keys.publicKey))
  const [x, y] = [point.slice(0, 32), point.slice(32)]
  const compressed = [...P256_MULTICODEC, 2 + (y[31]! & 1), ...x]
  const did: DID = `did:key:${base58btc.encode(Uint8Array.from(compressed))}`
  const signer = {
    did: () => did,
    toDIDKey: () => did,
    signatureCode: ES256,
    signatureAlgorithm: 'ES256',
    sign: async (payload: Uint8Array<ArrayBuffer>) =>
      createSignature(ES256, new Uint8Array(await subtle.sign(ECDSA, keys.privateKey, payload))),
    verify: async (payload: Uint8Array<ArrayBuffer>, { raw }: { raw: Uint8Array<ArrayBuffer> }) =>
      subtle.verify(ECDSA, keys.publicKey, raw, payload),
  }
  return signer as unknown as Signer
}
