import { componentName } from './names.ts'
import type { ServiceName } from './stages.ts'

// Before the two keys themselves, each 32 bytes: an Ed25519 private key (0x1300), then the public one (0xed).
const PRIVATE = '8026'
const PUBLIC = 'ed01'
const LENGTH = 68

/**
 * The private key of a service, as `@ucanto/principal` formats it (`MgCZ…`). Each stage has its own:
 * `sst secret set StorefrontKey`, `AggregatorKey`, `DealerKey`, `DealTrackerKey`.
 */
export const keyOf = (service: ServiceName) => {
  const secret = new sst.Secret(componentName(service, 'key'))
  return {
    private: secret.value,
    /** The same as a `did:key`: what it says to others is not secret. */
    public: $util.unsecret(
      secret.value.apply(text => {
        const did = publicKey(text)
        if (did === undefined)
          throw new Error(`${componentName(service, 'key')} must be an Ed25519 private key, MgC…`)
        return did
      }),
    ),
  }
}

/** The `did:key` of a private key; `undefined` when the text is not one. */
const publicKey = (text: string): `did:key:${string}` | undefined => {
  const bytes = Buffer.from(text.slice(1), 'base64')
  const tagged = bytes.subarray(-34)
  return text.startsWith('M') &&
    bytes.length === LENGTH &&
    bytes.toString('hex', 0, 2) === PRIVATE &&
    tagged.toString('hex', 0, 2) === PUBLIC
    ? `did:key:z${base58(tagged)}`
    : undefined
}

const DIGITS = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'

/** Base58 of bytes that do not begin with zero. */
const base58 = (bytes: Buffer): string => {
  let text = ''
  for (let rest = BigInt(`0x${bytes.toString('hex')}`); rest > 0n; rest /= 58n)
    text = DIGITS.charAt(Number(rest % 58n)) + text
  return text
}
