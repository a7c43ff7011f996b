import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  type CommonConfig,
  commonSchema,
  environmentKey,
  type KeySource,
  parseSigner,
  peersSchema,
  readConfig,
  readEnvironment,
  readLogLevel,
  readSigner,
  servicePeerSchema,
} from '../src/index.ts'

const KEY = 'MgCanZ/yGkUBY12eODgO4o2OzmHZGYDdTft4AXLJiua9IEO0BL4GxzmrltCgvCW6JYW7dIyQLHZX0vBFzGEHMRF7EMIE='
const schema = z.strictObject({
  ...commonSchema,
  peers: peersSchema.default([]),
  service: servicePeerSchema.optional(),
})
const problemsOf = (config: unknown): string[] => {
  try {
    readConfig(schema, { CONFIG: typeof config === 'string' ? config : JSON.stringify(config) })
    return []
  } catch (error) {
    return (error as Error).message.split('\n')
  }
}

describe('CONFIG', () => {
  it('is read with its defaults', () => {
    expect(readConfig(schema, { CONFIG: '{}' })).toEqual({
      peers: [],
      didWeb: { allowPrivate: false },
      aliases: [],
      dialects: [],
      attestors: [],
      timing: { retrySeconds: 60, pollSeconds: 900, redeliverySeconds: 10 },
    })
  })

  it.each<[string, unknown, string[]]>([
    [
      'a value of another type',
      { timing: { retrySeconds: '60' } },
      ['CONFIG: timing.retrySeconds is "60", but expected number'],
    ],
    [
      'a value out of range',
      { timing: { retrySeconds: 0 } },
      ['CONFIG: timing.retrySeconds is 0, but expected number to be >0'],
    ],
    [
      'every unknown setting',
      { timing: { pollSecond: 1 }, time: 1 },
      [
        'CONFIG: timing.pollSecond is not a setting; see docs/configuration.md',
        'CONFIG: time is not a setting; see docs/configuration.md',
      ],
    ],
    [
      'a DID that is not one',
      { peers: [{ did: 'peer.example.com' }] },
      ['CONFIG: peers[0].did is "peer.example.com", but expected a DID, e.g. did:web:peer.example.com'],
    ],
    [
      'a missing URL',
      { service: { did: 'did:web:peer.example' } },
      ['CONFIG: service.url is missing, but expected a URL, e.g. https://peer.example.com'],
    ],
    [
      'a URL of another protocol',
      { service: { did: 'did:web:peer.example', url: 'file:///etc/passwd' } },
      ['CONFIG: service.url is "file:///etc/passwd", but expected a URL, e.g. https://peer.example.com'],
    ],
    [
      'a peer that is listed twice',
      { peers: [{ did: 'did:web:a.example' }, { did: 'did:web:b.example' }, { did: 'did:web:a.example' }] },
      [
        'CONFIG: peers[2].did is "did:web:a.example", but the peer at index 0 has this DID too: list it once, with all its keys',
      ],
    ],
    [
      'a did:web with a path and without keys',
      { peers: [{ did: 'did:web:a.example:users:alice' }] },
      [
        'CONFIG: peers[0].did is "did:web:a.example:users:alice", but this did:web does not name a host that publishes its keys: list them in "keys"',
      ],
    ],
    [
      'a DID of another type',
      { peers: [{ did: 5 }] },
      ['CONFIG: peers[0].did is 5, but expected a DID, e.g. did:web:peer.example.com'],
    ],
    ['a value that is not an object', null, ['CONFIG is null, but expected object']],
    [
      'text that is not JSON',
      '{"timing" 1}',
      [
        'CONFIG is not JSON: parsing its 12 characters failed at position 10; expected an object, e.g. {"timing":{"retrySeconds":60}}',
      ],
    ],
    ['an empty text', '', ['CONFIG is missing: set it to the settings of the service, as JSON']],
  ])('stops the service if it has %s', (_, config, problems) => {
    expect(problemsOf(config)).toEqual(problems)
  })

  it('may name a did:web with a path if its keys are listed', () => {
    const key = parseSigner(KEY).did()
    expect(problemsOf({ peers: [{ did: 'did:web:a.example:users:alice', keys: [key] }] })).toEqual([])
  })

  it.each([
    ['in place of the JSON', KEY],
    ['as a value', { peers: [{ did: KEY }] }],
    ['as the name of a setting', { [KEY]: 1 }],
  ])('is never printed where it holds a private key %s', (_, config) => {
    const problems = problemsOf(config)
    expect(problems).toHaveLength(1)
    expect(problems[0]).not.toContain(KEY.slice(3, 20))
  })
})

describe('LOG_LEVEL', () => {
  it('is info by default', () => {
    expect(readLogLevel({})).toBe('info')
    expect(readLogLevel({ LOG_LEVEL: 'debug' })).toBe('debug')
  })

  it.each(['verbose', 'INFO', ''])('stops the service if it is "%s"', LOG_LEVEL => {
    expect(() => readLogLevel({ LOG_LEVEL })).toThrow(
      `LOG_LEVEL is "${LOG_LEVEL}", but expected one of debug, info, warn, error`,
    )
  })
})

describe('the private key', () => {
  const did = parseSigner(KEY).toDIDKey()
  const other = 'did:key:z6MkgGykN9ARNFjEowVq8mLP4kL4NtyaNF5oAdJsp8WMuhpB'
  const signer = (
    self?: CommonConfig['self'],
    key: string | undefined = KEY,
    aliases?: CommonConfig['aliases'],
  ) => readSigner(environmentKey({ SERVICE_KEY: key }), { self, ...(aliases && { aliases }) })

  it('signs as its did:key, or as the did:web of self', async () => {
    expect((await signer()).did()).toBe(did)
    expect((await signer({ did })).did()).toBe(did)
    for (const keys of [undefined, [did], [other, did] as const]) {
      const self = { did: 'did:web:self.example', keys: keys && [...keys] } as const
      expect((await signer(self)).did()).toBe('did:web:self.example')
    }
  })

  it('is read from any source', async () => {
    const store: KeySource = { name: 'the secret store', read: async () => KEY }
    const read = await readEnvironment(schema, { CONFIG: '{}' }, store)
    expect(read.id.did()).toBe(did)
    const empty: KeySource = { name: 'the secret store', read: async () => undefined }
    await expect(readEnvironment(schema, { CONFIG: '{}' }, empty)).rejects.toThrow(
      /^the secret store is missing: set it to the private key of the service$/,
    )
  })

  const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  it.each([
    ['cut off', KEY.slice(0, 60)],
    ['a did:key', did as string],
    ['PEM', pem],
  ])('stops the service if it is %s, and is not printed', async (_, key) => {
    const error = (await signer(undefined, key).catch(error => error)) as Error
    expect(error.message).toBe(
      `SERVICE_KEY is not a private key: expected an Ed25519 key as @ucanto/principal formats it, MgC…, but it has ${key.length} characters of another form`,
    )
    expect(error.cause).toBeUndefined()
  })

  it('stops the service if self is the did:key of another key', async () => {
    await expect(signer({ did: other })).rejects.toThrow(
      `CONFIG: self.did is ${other}, but SERVICE_KEY is the private key of ${did}: they must be the same`,
    )
  })

  it('may have its own did:key and any did:web as aliases, and no other did:key', async () => {
    const self = { did: 'did:web:self.example' } as const
    expect((await signer(self, KEY, [did, 'did:web:old.example'])).did()).toBe('did:web:self.example')
    await expect(signer(self, KEY, [other])).rejects.toThrow(
      `CONFIG: aliases has ${other}, but SERVICE_KEY is the private key of ${did}: no other did:key can be an alias`,
    )
  })

  it('stops the service if self lists keys, but not its own', async () => {
    await expect(signer({ did: 'did:web:self.example', keys: [other] })).rejects.toThrow(
      `CONFIG: self.keys is ["${other}"], but SERVICE_KEY is the private key of ${did}: list it among the keys of did:web:self.example`,
    )
  })
})

it('one error has a line for each problem of the environment', async () => {
  const CONFIG = JSON.stringify({ timing: { retrySeconds: -1 } })
  await expect(
    readEnvironment(schema, { CONFIG, LOG_LEVEL: 'loud', SERVICE_KEY: 'x' }),
  ).rejects.toMatchObject({
    name: 'ConfigurationError',
    problems: [
      'CONFIG: timing.retrySeconds is -1, but expected number to be >0',
      'LOG_LEVEL is "loud", but expected one of debug, info, warn, error',
      expect.stringContaining('SERVICE_KEY is not a private key'),
    ],
  })
})
