import type { DID } from '@ucanto/interface'
import { type Failure, failure, type Result } from '@w3filecoin/capabilities'
import { base58btc } from 'multiformats/bases/base58'
import { z } from 'zod'
import type { Clock, Fetch, Log } from '../ports.ts'
import { type Keys, principals } from './principal.ts'

/** How long a document holds, and how long nobody asks again after a failure; in milliseconds. */
const FRESH = 5 * 60_000
const RETRY = 10_000
/** A signature by none of the keys has the host asked again, but not before the last answer is as old as this. */
const RENEW = 30_000
/** How long the last document holds while its host can not be reached. */
const GRACE = 60 * 60_000

/** How long a host may take to hand over its document. */
const TIMEOUT = 5_000
const MAX_BYTES = 64 * 1024
const MAX_METHODS = 32

export interface DidWebOptions {
  /** Follows no redirects, and decides which addresses may be called. */
  fetch: Fetch
  now: Clock
  log: Log
  /** Whether hosts on this machine are asked over plain HTTP. */
  allowPrivate: boolean
}

type Key = DID<'key'>

/**
 * The keys of one `did:web`, as its host publishes them in `/.well-known/did.json`. The host is asked when they are
 * needed, at most once at a time. What it answers counts, also if that holds no keys; while it can not be reached, its
 * last answer holds on for a while.
 */
export class HostKeys implements Keys {
  readonly #did: DID
  readonly #url: string
  readonly #options: DidWebOptions
  #answer: { keys: readonly Key[]; at: number } | undefined
  #askedAt = -Infinity
  #askAgainAt = -Infinity
  #asking: Promise<void> | undefined

  /** Throws on a DID that names no host. */
  constructor(did: DID, options: DidWebOptions) {
    const url = documentUrl(did, options)
    if (url === undefined)
      throw new Error(`${did} is no did:web of a host; the configuration must say which keys sign for it`)
    this.#did = did
    this.#url = url
    this.#options = options
  }

  async known(): Promise<readonly Key[]> {
    const { now } = this.#options
    if (now() >= this.#askAgainAt) await this.#ask()
    if (this.#answer === undefined || now() >= this.#answer.at + GRACE)
      throw new Error(`The keys of ${this.#did} can not be read from ${this.#url}`)
    return this.#answer.keys
  }

  async renewed(): Promise<readonly Key[]> {
    if (this.#options.now() >= this.#askedAt + RENEW) await this.#ask()
    return this.#answer?.keys ?? []
  }

  #ask(): Promise<void> {
    const { now, log } = this.#options
    const ask = async () => {
      const document = await this.#read()
      if (document?.error) log('warn', 'DID document not taken', { did: this.#did, reason: document.error })
      if (document) this.#answer = { keys: document.ok ?? [], at: now() }
      this.#askedAt = now()
      this.#askAgainAt = this.#askedAt + (document?.ok ? FRESH : RETRY)
      this.#asking = undefined
    }
    this.#asking ??= ask()
    return this.#asking
  }

  /** What the host answers; `undefined` when it can not be reached. */
  async #read(): Promise<Result<readonly Key[]> | undefined> {
    const { fetch, log, now } = this.#options
    try {
      const response = await fetch(this.#url, {
        headers: { accept: 'application/did+json, application/json' },
        redirect: 'manual',
        signal: AbortSignal.timeout(TIMEOUT),
      })
      const { status } = response
      if (status >= 500 || status === 429) throw new Error(`The host answered ${status}`)
      const text = await textOf(response)
      return text.error ? text : keysIn(text.ok, this.#did, now())
    } catch (cause) {
      log('warn', 'DID document not reached', { did: this.#did, url: this.#url, cause })
      return undefined
    }
  }
}

const LOCALHOST = /^(localhost|127(\.\d+){3})$/
const HOST = /^did:web:([a-z0-9.-]+)(?:%3[Aa](\d{1,5}))?$/

/** Where the host of a `did:web` publishes its document; `undefined` for those with paths and for what is no host. */
export const documentUrl = (
  did: string,
  { allowPrivate }: Pick<DidWebOptions, 'allowPrivate'>,
): string | undefined => {
  const [, host, port] = HOST.exec(did) ?? []
  if (host === undefined) return undefined
  const scheme = allowPrivate && LOCALHOST.test(host) ? 'http' : 'https'
  const url = URL.parse(`${scheme}://${host}${port === undefined ? '' : `:${port}`}/.well-known/did.json`)
  // An address in another guise (`0x7f.1`) is read as what it stands for.
  return url?.hostname === host ? url.href : undefined
}

const refused = (message: string): { error: Failure } => ({ error: failure('InvalidDIDDocument', message) })

const JSON_TYPE = /^application\/(?:[a-z0-9.+-]+\+)?json\s*(?:;|$)/i

/** The JSON that a host answered with. */
const textOf = async (response: Response): Promise<Result<string>> => {
  const type = response.headers.get('content-type') ?? ''
  if (response.status !== 200 || response.body === null || !JSON_TYPE.test(type)) {
    await response.body?.cancel()
    return refused(`The host answered ${response.status}, ${type || 'without a type'}`)
  }
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body) {
    bytes += chunk.byteLength
    // Leaving the loop cancels the body.
    if (bytes > MAX_BYTES) return refused(`A DID document has at most ${MAX_BYTES} bytes`)
    chunks.push(chunk)
  }
  return { ok: Buffer.concat(chunks).toString() }
}

const documentSchema = z.object({
  id: z.string(),
  verificationMethod: z.array(z.unknown()).max(MAX_METHODS),
})

/** Ed25519 keys in the forms that are in use; a document may hold others too. */
const methodSchema = z
  .object({
    controller: z.string(),
    /** A key that is listed still, but signs no more. */
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
    ]),
  )

/** The keys that a document gives a DID. */
const keysIn = (text: string, did: DID, now: number): Result<readonly Key[]> => {
  const document = documentSchema.safeParse(parseJson(text))
  if (document.error) return refused(z.prettifyError(document.error))
  const { id, verificationMethod } = document.data
  if (id !== did) return refused(`The document is that of ${id.slice(0, 200)}`)
  const keys = new Set(verificationMethod.flatMap(method => keyOf(method, did, now) ?? []))
  return keys.size > 0 ? { ok: [...keys] } : refused('The document holds no Ed25519 key')
}

/** The multicodec of an Ed25519 public key. */
const ED25519 = [0xed, 0x01]

const keyOf = (value: unknown, did: DID, now: number): Key | undefined => {
  const { data: method } = methodSchema.safeParse(value)
  if (method === undefined || method.controller !== did) return undefined
  const ended = [method.expires, method.revoked].some(time => time !== undefined && Date.parse(time) <= now)
  if (ended) return undefined
  const multibase =
    'publicKeyJwk' in method
      ? base58btc.encode(Uint8Array.from([...ED25519, ...Buffer.from(method.publicKeyJwk.x, 'base64url')]))
      : method.publicKeyMultibase
  const key: Key = `did:key:${multibase}`
  return isEd25519(key) ? key : undefined
}

const isEd25519 = (key: Key): boolean => {
  try {
    principals.parse(key)
    return true
  } catch {
    return false
  }
}

/** `undefined` for what is no JSON. */
const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
