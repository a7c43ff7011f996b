import type { Signer } from '@ucanto/interface'
import { documentOf, signerOf, somePiece, startWebHost, type WebHost } from '@w3filecoin/testing'
import { base58btc } from 'multiformats/bases/base58'
import { base64url } from 'multiformats/bases/base64'
import { afterAll, expect, test } from 'vitest'
import { invoke } from './invoke.ts'
import { useSystem } from './system.ts'

/** Storefronts under the `did:web` of hosts whose DID documents have various forms. */

/** The key of a storefront in its document, as the host's DID and the raw bytes of the key. */
interface Key {
  did: string
  /** The `did:key` without its prefix. */
  multibase: string
  raw: Uint8Array
}

const v2018 = ({ did, raw }: Key) => ({
  id: `${did}#key`,
  type: 'Ed25519VerificationKey2018',
  controller: did,
  publicKeyBase58: base58btc.baseEncode(raw),
})
const v2020 = ({ did, multibase }: Key) => ({
  id: `${did}#key`,
  type: 'Ed25519VerificationKey2020',
  controller: did,
  publicKeyMultibase: multibase,
})
const jwk = ({ did, raw }: Key) => ({
  id: `${did}#key`,
  type: 'JsonWebKey2020',
  controller: did,
  publicKeyJwk: { kty: 'OKP', crv: 'Ed25519', x: base64url.baseEncode(raw) },
})

const ACCEPTED: Record<string, (key: Key) => object> = {
  'an Ed25519VerificationKey2018': key => ({ verificationMethod: [v2018(key)] }),
  'an Ed25519VerificationKey2020': key => ({ verificationMethod: [v2020(key)] }),
  'a JsonWebKey2020': key => ({ verificationMethod: [jwk(key)] }),
  'a key embedded in authentication': key => ({ authentication: [v2020(key)] }),
  'a key embedded in assertionMethod, without a controller and with a relative id': key => ({
    assertionMethod: [{ ...v2018(key), id: '#key', controller: undefined }],
  }),
  'a relative reference to its key': key => ({
    verificationMethod: [jwk(key)],
    capabilityInvocation: ['#key'],
    keyAgreement: ['#key'],
  }),
}
const REFUSED: Record<string, (key: Key) => object> = {
  'a key embedded in keyAgreement only': key => ({ keyAgreement: [v2020(key)] }),
  'a key that only keyAgreement refers to': key => ({
    verificationMethod: [v2020(key)],
    keyAgreement: ['#key'],
  }),
  'an embedded key of another controller': key => ({
    authentication: [{ ...v2018(key), controller: 'did:web:other.example' }],
  }),
  'more than 32 keys in all': key => ({
    verificationMethod: Array(16).fill(v2020(key)),
    authentication: Array(17).fill(v2020(key)),
  }),
}

/** A storefront and its host, by the form of its document. */
const storefronts = new Map<string, { signer: Signer; host: WebHost }>()
for (const [form, documentWith] of Object.entries({ ...ACCEPTED, ...REFUSED })) {
  const host = await startWebHost()
  const signer = await signerOf(form, host.did)
  const multibase = signer.toDIDKey().slice('did:key:'.length)
  // The raw key follows the two-byte multicodec prefix.
  const key = { did: host.did, multibase, raw: base58btc.decode(multibase).slice(2) }
  host.answer = (_, response) => {
    response.setHeader('content-type', 'application/did+json')
    response.end(JSON.stringify({ ...documentOf(host.did, []), ...documentWith(key) }))
  }
  storefronts.set(form, { signer, host })
}
afterAll(() => Promise.all([...storefronts.values()].map(({ host }) => host.stop())))

const system = useSystem({
  configure: (role, config) =>
    role === 'aggregator'
      ? {
          ...config,
          didWeb: { allowPrivate: true },
          storefronts: [
            ...config.storefronts,
            ...[...storefronts.values()].map(({ host: { did } }) => ({ did })),
          ],
        }
      : config,
})

const offerAs = (issuer: Signer) =>
  invoke(system.at('aggregator'), {
    issuer,
    can: 'piece/offer',
    nb: { piece: somePiece(issuer.did()), group: 'group' },
  })

test.each(Object.keys(ACCEPTED))(
  'K11: a did:web signs with the key in its DID document, in each form: %s',
  async form => {
    const { signer, host } = storefronts.get(form)!
    expect((await offerAs(signer)).out).toMatchObject({ ok: { piece: expect.anything() } })
    const forger = await signerOf('forger', host.did)
    expect((await offerAs(forger)).out).toMatchObject({ error: { name: 'Unauthorized' } })
  },
)

test.each(Object.keys(REFUSED))(
  'K11: a did:web does not sign with keys for encryption or of another controller, or if there are too many: %s',
  async form => {
    const { signer, host } = storefronts.get(form)!
    expect((await offerAs(signer)).out).toMatchObject({ error: { name: 'Unauthorized' } })
    expect(host.asked).toBeGreaterThan(0)
  },
)
