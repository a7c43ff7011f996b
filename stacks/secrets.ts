import { base58btc } from 'multiformats/bases/base58'
import { componentName } from './names.ts'
import type { ServiceName } from './stages.ts'

// Multicodecs in hex. The text is the private key (0x1300, 32 bytes) followed by the public key (0xed, 32 bytes).
const PRIVATE = '8026'
const PUBLIC = 'ed01'
const LENGTH = 68

const DID_KEY = 'did:key:'

/**
 * Creates the key that encrypts the private keys of a stage. The key `aws/ssm` of the account would not do: each principal that may
 * read parameters may decrypt with it, e.g. with the managed policy `ReadOnlyAccess`.
 */
export const makeEncryption = (): aws.kms.Key =>
  new aws.kms.Key('PrivateKeysEncryption', {
    description: `Encrypts the private keys of the stage ${$app.stage} in the Parameter Store`,
  })

/**
 * The private key of a service, as `@ucanto/principal` formats it (`MgCZ…`). Each stage has separate keys:
 * `sst secret set StorefrontKey`, `AggregatorKey`, `DealerKey`, `DealTrackerKey`. The functions of the service read it from a
 * parameter. Their environment would show it to each reader of their configuration.
 *
 * @param encryption the key that encrypts the parameter
 */
export const keyOf = (service: ServiceName, encryption: aws.kms.Key) => {
  const secret = new sst.Secret(componentName(service, 'key'))
  // `sst secret set … < FILE` stores the end of the line too.
  const key = secret.value.apply(text => text.trim())
  /** Its `did:key`, which is not secret. */
  const did = $util.unsecret(
    key.apply(text => {
      const did = publicKey(text)
      if (did === undefined)
        throw new Error(
          `The secret ${componentName(service, 'key')} is not an Ed25519 private key (MgC…). Set it with: sst secret set`,
        )
      return did
    }),
  )
  const parameter = new aws.ssm.Parameter(componentName(service, 'private', 'key'), {
    // Each key has a separate parameter: while a deploy replaces the key, a function with the former configuration still
    // starts with the former key. The path lies outside of the one that operators may read, see `places`.
    name: $interpolate`/${$app.name}-keys/${$app.stage}/${service}/${did.apply(did => did.slice(DID_KEY.length))}`,
    description: `Private key of the ${service}`,
    type: 'SecureString',
    keyId: encryption.arn,
    value: key,
  })
  return { did, parameter }
}

/** Returns the `did:key` of a private key; `undefined` if the text is not one. */
const publicKey = (text: string): `did:key:${string}` | undefined => {
  const bytes = Buffer.from(text.slice(1), 'base64')
  const tagged = bytes.subarray(-34)
  return text.startsWith('M') &&
    bytes.length === LENGTH &&
    bytes.toString('hex', 0, 2) === PRIVATE &&
    tagged.toString('hex', 0, 2) === PUBLIC
    ? `${DID_KEY}${base58btc.encode(tagged)}`
    : undefined
}
