import { base58btc } from 'multiformats/bases/base58'
import { componentName } from './names.ts'
import type { ServiceName } from './stages.ts'

// Multicodecs in hex. The text is the private key (0x1300, 32 bytes) followed by the public key (0xed, 32 bytes).
const PRIVATE = '8026'
const PUBLIC = 'ed01'
const LENGTH = 68

/**
 * The private key of a service, as `@ucanto/principal` formats it (`MgCZ…`). Each stage has separate keys:
 * `sst secret set StorefrontKey`, `AggregatorKey`, `DealerKey`, `DealTrackerKey`.
 */
export const keyOf = (service: ServiceName) => {
  const secret = new sst.Secret(componentName(service, 'key'))
  // `sst secret set … < FILE` stores the end of the line too.
  const key = secret.value.apply(text => text.trim())
  return {
    private: key,
    /** Its `did:key`, which is not secret. */
    public: $util.unsecret(
      key.apply(text => {
        const did = publicKey(text)
        if (did === undefined)
          throw new Error(
            `The secret ${componentName(service, 'key')} is not an Ed25519 private key (MgC…). Set it with: sst secret set`,
          )
        return did
      }),
    ),
  }
}

/** Returns the `did:key` of a private key; `undefined` if the text is not one. */
const publicKey = (text: string): `did:key:${string}` | undefined => {
  const bytes = Buffer.from(text.slice(1), 'base64')
  const tagged = bytes.subarray(-34)
  return text.startsWith('M') &&
    bytes.length === LENGTH &&
    bytes.toString('hex', 0, 2) === PRIVATE &&
    tagged.toString('hex', 0, 2) === PUBLIC
    ? `did:key:${base58btc.encode(tagged)}`
    : undefined
}
