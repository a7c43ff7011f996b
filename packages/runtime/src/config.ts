import type { DID, Signer } from '@ucanto/interface'
import { DIALECTS, PLACE_TYPES, VOCABULARIES } from '@w3filecoin/capabilities'
import * as z from 'zod'
import { toDotPath } from 'zod/v4/core'
import { LOG_LEVELS, type LogLevel } from './log.ts'
import { documentUrl } from './ucan/did-web.ts'
import type { PeerConfig } from './ucan/peers.ts'
import { parseSigner } from './ucan/principal.ts'

/**
 * The configuration of a service, from its environment variables. The schema of a service describes each setting:
 * description, unit and examples are the source of docs/configuration.md, and a test requires them.
 */

/** The DID of a peer. */
export const didSchema = z
  .custom<DID>(
    value => typeof value === 'string' && /^did:[a-z0-9]+:\S+$/.test(value),
    'expected a DID, e.g. did:web:peer.example.com',
  )
  .meta({
    type: 'string',
    description: 'DID of the peer.',
    examples: ['did:web:peer.example.com'],
  })

const didKey = z
  .custom<`did:key:${string}`>(
    value => typeof value === 'string' && value.startsWith('did:key:'),
    'expected a did:key, e.g. did:key:z6MkndP2…',
  )
  .meta({ type: 'string' })

const url = z.url({ protocol: /^https?$/, error: 'expected a URL, e.g. https://peer.example.com' }).meta({
  description: 'URL that the peer takes invocations and serves receipts at.',
  examples: ['https://peer.example.com'],
})

const keys = z
  .array(didKey)
  .min(1)
  .meta({
    description:
      'The `did:key`s that sign for a `did:web`; several during a key change. If absent, they are read from `/.well-known/did.json` at its host.',
    examples: [['did:key:z6MkndP2…']],
  })

/** The keys of a `did:web` with a path are not read from a host, so they must be listed. */
const hasKeys = ({ value, issues }: z.core.ParsePayload<PeerConfig>) => {
  const { did, keys } = value
  if (keys || !did.startsWith('did:web:') || documentUrl(did, { allowPrivate: false })) return
  issues.push({
    code: 'custom',
    path: ['did'],
    input: did,
    message: 'this did:web does not name a host that publishes its keys: list them in "keys"',
  })
}

/** Another service, or another principal that this service accepts; see `PeerConfig`. */
export const peerSchema = z
  .strictObject({ did: didSchema, url: url.optional(), keys: keys.optional() })
  .check(hasKeys)

/** The kinds of places on chain that are accepted. */
export const placeTypesSchema = z
  .array(z.enum(PLACE_TYPES))
  .min(1, 'expected at least one kind of place')
  .default([...PLACE_TYPES])

const speaks = z
  .array(z.enum(VOCABULARIES))
  .min(1)
  .default(['protocol'])
  .meta({
    description:
      'The vocabularies that the peer understands. Offers are made in the protocol, or in the first of these if the protocol is not among them; and again in each dialect in which this service got the offer.',
    examples: [['protocol', 'draft-2']],
  })

/** A peer that this service calls. */
export const servicePeerSchema = z
  .strictObject({ did: didSchema, url, keys: keys.optional(), speaks })
  .check(hasKeys)

/** Peers with different DIDs, each with the settings of the schema. */
export const peersOf = <S extends z.ZodType<PeerConfig>>(schema: S) =>
  z.array(schema).check(({ value, issues }) => {
    for (const [n, { did }] of value.entries()) {
      const first = value.findIndex(other => other.did === did)
      if (first === n) continue
      const message = `the peer at index ${first} has this DID too: list it once, with all its keys`
      issues.push({ code: 'custom', path: [n, 'did'], input: did, message })
    }
  })

export const peersSchema = peersOf(peerSchema)

const seconds = z.number().positive()

/** The settings that every service has. */
export const commonSchema = {
  self: z
    .strictObject({
      did: didSchema.meta({
        type: 'string',
        description: 'DID that the service signs as. If `self` is absent, the `did:key` of its private key.',
        examples: ['did:web:storefront.example.com'],
      }),
      url: url.optional().meta({
        description: 'URL of the service, for information only.',
        examples: ['https://storefront.example.com'],
      }),
      keys: keys.optional().meta({
        description:
          'All keys that sign or have signed as this `did:web`, the present one among them. Receipts under former keys stay valid.',
        examples: [['did:key:z6MkndP2…', 'did:key:z6MkiTom…']],
      }),
    })
    .optional()
    .meta({
      description: 'The service itself, if it acts as a `did:web`. Its host is never asked for these keys.',
    }),
  attestors: peersSchema.default([]).meta({
    description:
      'Login services whose attestations (`ucan/attest`) count: they confirm that an account, e.g. a `did:mailto`, issued a delegation. The attestations of the service itself always count.',
    examples: [[{ did: 'did:web:login.example.com' }]],
  }),
  aliases: z
    .array(didSchema)
    .default([])
    .meta({
      description:
        'Other DIDs that invocations may be addressed to: a former DID of the service, its `did:key`, or the DID that published clients have as default. The receipt of such an invocation is issued under the alias; all other tasks and receipts are issued under the DID of the service. A `did:key` must be that of the present key.',
      examples: [['did:web:old.storefront.example.com']],
    }),
  dialects: z
    .array(z.enum(DIALECTS))
    .default([])
    .meta({
      description:
        'The dialects in which this service takes invocations, beside the protocol: see docs/protocol.md. `npm start` and the stacks enable all of them.',
      examples: [['draft-2', 'draft-3']],
    }),
  didWeb: z
    .strictObject({
      allowPrivate: z
        .boolean()
        .default(false)
        .meta({
          description:
            'Whether the host of a `did:web`, that of a gateway, and those of addresses that agents name for receipts may have a private address. A host on this machine is then asked over plain HTTP.',
          examples: [true],
        }),
    })
    .prefault({}),
  timing: z
    .strictObject({
      retrySeconds: seconds.default(60).meta({
        unit: 'seconds',
        description: 'Time until unfinished work is tried again.',
        examples: [30],
      }),
      pollSeconds: seconds.default(900).meta({
        unit: 'seconds',
        description: 'Time until another service is asked for a receipt that did not arrive.',
        examples: [300],
      }),
      redeliverySeconds: seconds
        .max(900)
        .default(10)
        .meta({
          unit: 'seconds',
          description:
            'Pause between the first attempt of a message that failed and the second one. Each further pause is four times as long, and at most 900 seconds. With the default, a message is a dead letter after five attempts in 14 minutes.',
          examples: [1],
        }),
    })
    .prefault({}),
}

export const commonConfig = z.object(commonSchema)
export type CommonConfig = z.infer<typeof commonConfig>

/** The environment variables of a service, beside those of its resources. */
export const environmentVariables = z.object({
  SERVICE_KEY: z
    .string()
    .optional()
    .meta({
      description:
        'Private key of the service: an Ed25519 key as `@ucanto/principal` formats it. Secret. Required without `SERVICE_KEY_PARAMETER`.',
      examples: ['MgCZ…'],
    }),
  SERVICE_KEY_PARAMETER: z
    .string()
    .optional()
    .meta({
      description:
        'Name of the parameter in the Parameter Store of AWS that holds the private key. It is read at each cold start. The stacks set it instead of `SERVICE_KEY`.',
      examples: ['/w3filecoin-keys/production/storefront/z6MkndP2…'],
    }),
  CONFIG: z.string().meta({
    description: 'The settings of the service, as in its table below.',
    examples: ['{"sources":[]}'],
  }),
  LOG_LEVEL: z
    .enum(LOG_LEVELS)
    .default('info')
    .meta({
      description: 'The least severe events that are logged.',
      examples: ['debug'],
    }),
  PAGE: z
    .string()
    .optional()
    .meta({
      description:
        'Directory of the web page that the storefront serves, as `npm run build:page` writes it. If absent, it serves none.',
      examples: ['page'],
    }),
})

export type Environment = { [name in keyof z.input<typeof environmentVariables>]?: string | undefined } & {
  [name: string]: string | undefined
}

/** The environment is wrong. The message has one line per problem, and never a private key. */
export class ConfigurationError extends Error {
  override name = 'ConfigurationError'
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(problems.join('\n'))
    this.problems = problems
  }
}

/** Reads and checks `CONFIG`. */
export const readConfig = <S extends z.ZodType>(schema: S, { CONFIG }: Environment): z.infer<S> => {
  if (!CONFIG)
    throw new ConfigurationError(['CONFIG is missing: set it to the settings of the service, as JSON'])
  const parsed = schema.safeParse(parseJson(CONFIG), { reportInput: true })
  if (parsed.error) throw new ConfigurationError(parsed.error.issues.map(problemOf))
  return parsed.data
}

/** Reads and checks `LOG_LEVEL`. */
export const readLogLevel = ({ LOG_LEVEL }: Environment): LogLevel => {
  const { data, error } = environmentVariables.shape.LOG_LEVEL.safeParse(LOG_LEVEL)
  if (error)
    throw new ConfigurationError([
      `LOG_LEVEL is ${shown(LOG_LEVEL)}, but expected one of ${LOG_LEVELS.join(', ')}`,
    ])
  return data
}

/** A place that holds the private key of the service. Reading it is asynchronous because it may be a secret store. */
export interface KeySource {
  /** Name of the place, for errors, e.g. `SERVICE_KEY`. */
  name: string
  /** Returns the private key as `@ucanto/principal` formats it (`MgCZ…`); `undefined` if there is none. */
  read(): Promise<string | undefined>
}

/** The private key in the environment variable `SERVICE_KEY`. */
export const environmentKey = ({ SERVICE_KEY }: Environment): KeySource => ({
  name: 'SERVICE_KEY',
  read: async () => SERVICE_KEY,
})

/** Reads the principal that the service signs as, and checks that the key is the one of `self`. */
export const readSigner = async (
  source: KeySource,
  { self, aliases = [] }: Partial<Pick<CommonConfig, 'self' | 'aliases'>> = {},
): Promise<Signer> => {
  const key = await source.read()
  if (!key)
    throw new ConfigurationError([`${source.name} is missing: set it to the private key of the service`])
  const signer = signerOf(key, self?.did)
  if (signer === undefined)
    throw new ConfigurationError([
      `${source.name} is not a private key: expected an Ed25519 key as @ucanto/principal formats it, MgC…, but it has ${key.length} characters of another form`,
    ])
  const problem = self && mismatchOf(self, signer.toDIDKey(), source)
  if (problem) throw new ConfigurationError([problem])
  const foreign = aliases.find(alias => alias.startsWith('did:key:') && alias !== signer.toDIDKey())
  if (foreign)
    throw new ConfigurationError([
      `CONFIG: aliases has ${foreign}, but ${source.name} is the private key of ${signer.toDIDKey()}: no other did:key can be an alias`,
    ])
  return signer
}

/** Reads configuration, log level and key. Throws one `ConfigurationError` with all their problems. */
export const readEnvironment = async <S extends z.ZodType<CommonConfig>>(
  schema: S,
  environment: Environment,
  keySource: KeySource = environmentKey(environment),
): Promise<{ config: z.infer<S>; logLevel: LogLevel; id: Signer }> => {
  const config = (async () => readConfig(schema, environment))()
  const logLevel = (async () => readLogLevel(environment))()
  const id = config.then(
    config => readSigner(keySource, config),
    () => readSigner(keySource),
  )
  const reads = [config, logLevel, id] as const
  const problems = (await Promise.allSettled(reads)).flatMap(read => {
    if (read.status === 'fulfilled') return []
    if (read.reason instanceof ConfigurationError) return read.reason.problems
    throw read.reason
  })
  if (problems.length > 0) throw new ConfigurationError(problems)
  return { config: await config, logLevel: await logLevel, id: await id }
}

/** The intervals of the configuration, in milliseconds. */
export const toTiming = ({
  timing: { retrySeconds, pollSeconds },
}: {
  timing: Pick<CommonConfig['timing'], 'retrySeconds' | 'pollSeconds'>
}) => ({
  retryMs: retrySeconds * 1000,
  pollMs: pollSeconds * 1000,
})

/** `undefined` if the text is not a private key. The cause is dropped because it holds the text. */
const signerOf = (key: string, did?: DID): Signer | undefined => {
  try {
    return parseSigner(key, did)
  } catch {
    return undefined
  }
}

/** The problem if the key does not sign for `self`. */
const mismatchOf = (
  { did, keys }: NonNullable<CommonConfig['self']>,
  key: DID<'key'>,
  { name }: KeySource,
): string | undefined => {
  if (did.startsWith('did:key:'))
    return did === key
      ? undefined
      : `CONFIG: self.did is ${did}, but ${name} is the private key of ${key}: they must be the same`
  return keys === undefined || keys.includes(key)
    ? undefined
    : `CONFIG: self.keys is ${shown(keys)}, but ${name} is the private key of ${key}: list it among the keys of ${did}`
}

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch (cause) {
    // Drop the message: it quotes the text, which may be a private key in the wrong variable.
    const [, at] = /position (\d+)/.exec((cause as Error).message) ?? []
    const where = at === undefined ? '' : ` at position ${at}`
    throw new ConfigurationError([
      `CONFIG is not JSON: parsing its ${text.length} characters failed${where}; expected an object, e.g. {"timing":{"retrySeconds":60}}`,
    ])
  }
}

/** @example 'CONFIG: timing.retrySeconds is "60", but expected number' */
const problemOf = (issue: z.core.$ZodIssue): string =>
  issue.path.length === 0 && issue.code !== 'unrecognized_keys'
    ? `CONFIG ${describeIssue(issue)}`
    : `CONFIG: ${describeIssue(issue)}`

/**
 * Describes an issue of a value in one line: path, value found, value expected. The path of the value itself is empty.
 *
 * @example 'timing.retrySeconds is "60", but expected number'
 */
export const describeIssue = (issue: z.core.$ZodIssue): string => {
  const pathOf = (...more: PropertyKey[]) => toDotPath([...issue.path, ...more])
  if (issue.code === 'unrecognized_keys')
    return withoutSecrets(
      `${issue.keys.map(key => pathOf(key)).join(', ')} is not a setting; see docs/configuration.md`,
    )
  // Zod's own messages: "Invalid input: expected number, received string".
  const expected = issue.message.replace(/^[^:]+: (?=expected )/, '').replace(/, received \w+$/, '')
  return withoutSecrets(`${pathOf()} is ${shown(issue.input)}, but ${expected}`.trimStart())
}

const MAX_SHOWN = 200

const shown = (value: unknown): string => {
  const text = withoutSecrets(JSON.stringify(value) ?? 'missing')
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text
}

/** Ed25519 private keys in multibase, see `parseSigner`. */
const PRIVATE_KEY = /[MmUu]gC[\w+/-]{20,}=*/g

const withoutSecrets = (text: string): string => text.replaceAll(PRIVATE_KEY, '(a private key)')
