import type { DID } from '@ucanto/interface'
import { type Failure, failure, type Result } from '@w3filecoin/capabilities'
import { base58btc } from 'multiformats/bases/base58'
import * as z from 'zod'
import type { Clock, Fetch, Log } from '../ports.ts'
import { type Keys, principals } from './principal.ts'
import { readBody } from './read-body.ts'

/** A document is valid for this long before its host is asked again. */
const FRESH_MS = 5 * 60_000
/** After a failed request the host is not asked again for this long. */
const RETRY_MS = 10_000
/** If no known key verifies a signature, the host is asked again, at most once in this interval. */
const RENEW_MS = 30_000
/** The last document stays valid for this long while its host is unreachable. */
const GRACE_MS = 60 * 60_000

/** Maximum duration of a request, including its body. */
const TIMEOUT_MS = 5_000
const MAX_BYTES = 64 * 1024
const MAX_METHODS = 32

export interface DidWebOptions {
  /** Must not follow redirects. Decides which addresses may be called. */
  fetch: Fetch
  now: Clock
  log: Log
  /** Whether hosts on this machine are called, over plain HTTP. */
  allowPrivate: boolean
}

type Key = DID<'key'>

/**
 * The keys of one `did:web`, as its host publishes them in `/.well-known/did.json`. The host is asked when a key is needed,
 * with at most one request at a time. Its latest answer counts, even one without keys. While the host is unreachable, its
 * last answer stays valid for `GRACE_MS`.
 *
 * @example { "id": "did:web:dealer.example.com", "verificationMethod": [{
 *   "id": "did:web:dealer.example.com#key-0", "type": "Multikey", "controller": "did:web:dealer.example.com",
 *   "publicKeyMultibase": "z6Mk…" }] }
 */
export class HostKeys implements Keys {
  readonly #did: DID
  readonly #url: string
  readonly #options: DidWebOptions
  #answer: { keys: readonly Key[]; at: number } | undefined
  #askedAt = -Infinity
  #askAgainAt = -Infinity
  #asking: Promise<void> | undefined

  /** Throws if the DID does not name a host. */
  constructor(did: DID, options: DidWebOptions) {
    const url = documentUrl(did, options)
    if (url === undefined)
      throw new Error(`${did} is not the did:web of a host. List its keys in the configuration.`)
    this.#did = did
    this.#url = url
    this.#options = options
  }

  async known(): Promise<readonly Key[]> {
    const { now } = this.#options
    // The clock was ahead at the last request if that was later than now.
    if (now() >= this.#askAgainAt || now() < this.#askedAt) await this.#ask()
    if (this.#answer === undefined || now() >= this.#answer.at + GRACE_MS)
      throw new Error(`The keys of ${this.#did} cannot be read from ${this.#url}`)
    return this.#answer.keys
  }

  async renew(): Promise<readonly Key[]> {
    if (this.#options.now() >= this.#askedAt + RENEW_MS) await this.#ask()
    return this.#answer?.keys ?? []
  }

  #ask(): Promise<void> {
    const { now, log } = this.#options
    const ask = async () => {
      const document = await this.#read()
      if (document?.error)
        log('warn', 'DID document rejected', { did: this.#did, url: this.#url, reason: document.error })
      if (document) this.#answer = { keys: document.ok ?? [], at: now() }
      this.#askedAt = now()
      this.#askAgainAt = this.#askedAt + (document?.ok ? FRESH_MS : RETRY_MS)
      this.#asking = undefined
    }
    this.#asking ??= ask()
    return this.#asking
  }

  /** Returns the keys that the host publishes; `undefined` if it is unreachable. */
  async #read(): Promise<Result<readonly Key[]> | undefined> {
    const { log } = this.#options
    try {
      return await readDocument(this.#url, this.#did, this.#options)
    } catch (cause) {
      log('warn', 'DID document not reached', { did: this.#did, url: this.#url, cause })
      return undefined
    }
  }
}

/** Requests the DID document at a URL. Returns the keys of the DID in it. Throws if the host is unreachable. */
export const readDocument = async (
  url: string,
  did: DID,
  { fetch, now }: Pick<DidWebOptions, 'fetch' | 'now'>,
): Promise<Result<readonly Key[]>> => {
  const response = await fetch(url, {
    headers: { accept: 'application/did+json, application/json' },
    redirect: 'manual',
    signal: AbortSignal.timeout(TIMEOUT_MS),
  })
  const { status } = response
  if (status >= 500 || status === 429) throw new Error(`The host answered ${status}`)
  const text = await textOf(response)
  return text.error ? text : keysIn(text.ok, did, now())
}

const LOCALHOST = /^(localhost|127(\.\d+){3})$/
const HOST = /^did:web:([a-z0-9.-]+)(?:%3[Aa](\d{1,5}))?$/

/**
 * Returns the URL where the host of a `did:web` publishes its document; `undefined` if the DID has a path or an invalid
 * host.
 *
 * @example documentUrl('did:web:dealer.example.com', { allowPrivate: false })
 * // 'https://dealer.example.com/.well-known/did.json'
 * @example documentUrl('did:web:127.0.0.1%3A4003', { allowPrivate: true }) // 'http://127.0.0.1:4003/.well-known/did.json'
 */
export const documentUrl = (
  did: string,
  { allowPrivate }: Pick<DidWebOptions, 'allowPrivate'>,
): string | undefined => {
  const [, host, port] = HOST.exec(did) ?? []
  if (host === undefined) return undefined
  const scheme = allowPrivate && LOCALHOST.test(host) ? 'http' : 'https'
  const url = URL.parse(`${scheme}://${host}${port === undefined ? '' : `:${port}`}/.well-known/did.json`)
  // Reject other notations of an address: the URL parser turns `0x7f.1` into `127.0.0.1`.
  return url?.hostname === host ? url.href : undefined
}

const invalidDocument = (message: string): { error: Failure } => ({
  error: failure('InvalidDIDDocument', message),
})

const JSON_TYPE = /^application\/(?:[a-z0-9.+-]+\+)?json\s*(?:;|$)/i

/** Reads the text of a JSON response. */
const textOf = async (response: Response): Promise<Result<string>> => {
  const type = response.headers.get('content-type') ?? ''
  if (response.status !== 200 || response.body === null || !JSON_TYPE.test(type)) {
    await response.body?.cancel()
    return invalidDocument(`The host answered ${response.status}, ${type || 'without a type'}`)
  }
  const bytes = await readBody(response.body, MAX_BYTES)
  return bytes === undefined
    ? invalidDocument(`A DID document has at most ${MAX_BYTES} bytes`)
    : { ok: bytes.toString() }
}

/** The relationships whose methods sign. A method under `keyAgreement` encrypts. */
const SIGNING = ['authentication', 'assertionMethod', 'capabilityInvocation', 'capabilityDelegation'] as const

/** A list, of which a document may have the only item without brackets. Its items are verification methods or their ids. */
const methodsSchema = z
  .unknown()
  .optional()
  .transform(value => (Array.isArray(value) ? (value as unknown[]) : value == null ? [] : [value]))

const documentSchema = z.object({
  id: z.string(),
  verificationMethod: methodsSchema,
  authentication: methodsSchema,
  assertionMethod: methodsSchema,
  capabilityInvocation: methodsSchema,
  capabilityDelegation: methodsSchema,
  keyAgreement: methodsSchema,
})

/** The forms of Ed25519 keys that are in use. A document may contain other keys too. */
const methodSchema = z
  .object({
    id: z.string().optional().catch(undefined),
    /** If absent, the DID in the id. */
    controller: z.string().optional(),
    /** A former key: it is still listed, but no longer signs. */
    expires: z.iso.datetime({ offset: true }).optional(),
    revoked: z.iso.datetime({ offset: true }).optional(),
  })
  .and(
    z.union([
      z.object({
        type: z.enum(['Multikey', 'Ed25519VerificationKey2020']),
        publicKeyMultibase: z.string().startsWith('z6Mk').max(64),
      }),
      z.object({
        type: z.enum(['JsonWebKey', 'JsonWebKey2020']),
        publicKeyJwk: z.object({
          kty: z.literal('OKP'),
          crv: z.literal('Ed25519'),
          x: z.string().regex(/^[\w-]{43}$/),
        }),
      }),
      z.object({
        type: z.literal('Ed25519VerificationKey2018'),
        publicKeyBase58: z.string().regex(/^[1-9A-HJ-NP-Za-km-z]{32,44}$/),
      }),
    ]),
  )
type Method = z.infer<typeof methodSchema>

/** Returns the keys of a DID in its document. */
const keysIn = (text: string, did: DID, now: number): Result<readonly Key[]> => {
  const { data: document, error } = documentSchema.safeParse(parseJson(text))
  if (error) return invalidDocument(z.prettifyError(error))
  const { id, verificationMethod, keyAgreement } = document
  if (id !== did) return invalidDocument(`The document describes ${id.slice(0, 200)}, not ${did}`)
  const signing = SIGNING.flatMap(relationship => document[relationship])
  const isEmbedded = (value: unknown) => typeof value !== 'string'
  const embedded = [...signing, ...keyAgreement].filter(isEmbedded)
  if (verificationMethod.length + embedded.length > MAX_METHODS)
    return invalidDocument(`A DID document has at most ${MAX_METHODS} verification methods`)

  const signs = idsOf(signing, did)
  const encrypts = idsOf(keyAgreement, did)
  const listed = verificationMethod.filter(method => {
    const id = idOf(method, did)
    return id === undefined || signs.has(id) || !encrypts.has(id)
  })
  const methods = [...listed, ...signing.filter(isEmbedded)]
  const keys = new Set(methods.flatMap(method => keyOf(method, did, now) ?? []))
  return keys.size > 0 ? { ok: [...keys] } : invalidDocument('The document contains no valid Ed25519 key')
}

/** Returns the absolute ids in a relationship that refers to methods instead of containing them. */
const idsOf = (relationship: readonly unknown[], did: DID): Set<string> =>
  new Set(relationship.filter(value => typeof value === 'string').map(id => toAbsolute(id, did)))

const idOf = (method: unknown, did: DID): string | undefined => {
  const { data } = z.object({ id: z.string() }).safeParse(method)
  return data && toAbsolute(data.id, did)
}

/** @example toAbsolute('#key-0', 'did:web:dealer.example.com') // 'did:web:dealer.example.com#key-0' */
const toAbsolute = (id: string, did: DID): string => (id.startsWith('#') ? `${did}${id}` : id)

/** The multicodec of an Ed25519 public key. */
const ED25519 = [0xed, 0x01]

/** Returns the key of a verification method; `undefined` if it is not a present Ed25519 key of the DID. */
const keyOf = (value: unknown, did: DID, now: number): Key | undefined => {
  const { data: method } = methodSchema.safeParse(value)
  if (method === undefined || controllerOf(method, did) !== did) return undefined
  const ended = [method.expires, method.revoked].some(time => time !== undefined && Date.parse(time) <= now)
  if (ended) return undefined
  const key: Key = `did:key:${multibaseOf(method)}`
  return isEd25519(key) ? key : undefined
}

const controllerOf = ({ controller, id = '#' }: Method, did: DID): string | undefined =>
  controller ?? toAbsolute(id, did).split('#')[0]

const multibaseOf = (method: Method): string => {
  if ('publicKeyMultibase' in method) return method.publicKeyMultibase
  const bytes =
    'publicKeyJwk' in method
      ? Buffer.from(method.publicKeyJwk.x, 'base64url')
      : base58btc.baseDecode(method.publicKeyBase58)
  return base58btc.encode(Uint8Array.from([...ED25519, ...bytes]))
}

const isEd25519 = (key: Key): boolean => {
  try {
    principals.parse(key)
    return true
  } catch {
    return false
  }
}

/** Returns `undefined` if the text is not JSON. */
const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
