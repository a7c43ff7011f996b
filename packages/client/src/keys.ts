import type { DID, Principal, Verifier } from '@ucanto/interface'
import { Verifier as Principals } from '@ucanto/principal'
import { base58btc } from 'multiformats/bases/base58'
import { base64url } from 'multiformats/bases/base64'
import { platform } from '#platform'
import { reasonOf, W3Error } from './error.ts'
import { request } from './http.ts'
import type { Fetch } from './platform.ts'

/**
 * A principal, and for a `did:web` its keys: as `did:key`s, or in a DID document. A `did:key` is its own key.
 *
 * - `did`: the DID of the principal
 * - `keys`: the `did:key`s that sign, or signed, for it
 * - `document`: its DID document (`/.well-known/did.json`), as parsed JSON
 *
 * @example 'did:key:z6MkndP2…'
 * @example { did: 'did:web:storefront.example', keys: ['did:key:z6MkndP2…'] }
 * @example { did: 'did:web:storefront.example', document: JSON.parse(readFileSync('did.json', 'utf8')) }
 */
export type Party = string | { did: string; keys?: readonly string[] | undefined; document?: unknown }

export const didOf = (party: Party): string => (typeof party === 'string' ? party : party.did)

/**
 * Returns the verifiers of a principal's keys, each under its DID.
 *
 * @param options.fetch if present, the DID document of a `did:web` without keys is read from its host
 * @throws W3Error `UnknownKeys` if there is no key
 */
export const verifiersOf = async (party: Party, { fetch }: { fetch?: Fetch } = {}): Promise<Verifier[]> => {
  const { did, keys, document } = typeof party === 'string' ? { did: party } : party
  if (did.startsWith('did:key:')) return [parseKey(did, did)]
  if (keys !== undefined && keys.length > 0) return keys.map(key => parseKey(key, did))
  if (document !== undefined) return keysIn(document, did).map(key => parseKey(key, did))
  if (fetch === undefined) throw new W3Error('UnknownKeys', `The keys of ${did} are not known`)
  return keysIn(await fetchDocument(did, fetch), did).map(key => parseKey(key, did))
}

/** Time after which the keys of a `did:web` may be read again, in milliseconds. */
const MIN_AGE_MS = 60_000

/** Remembers the keys of principals. */
export class Keyring {
  readonly #fetch: Fetch
  readonly #known = new Map<string, { verifiers: Promise<Verifier[]>; readAt: number }>()

  constructor(fetch: Fetch) {
    this.#fetch = fetch
  }

  /** Returns the verifiers of a principal's keys. The keys of a `did:web` without known keys are read from its host. */
  verifiers(party: Party): Promise<Verifier[]> {
    const did = didOf(party)
    const known = this.#known.get(did)
    if (known) return known.verifiers
    const verifiers = verifiersOf(party, { fetch: this.#fetch })
    this.#known.set(did, { verifiers, readAt: platform.now() })
    verifiers.catch(() => this.#known.delete(did))
    return verifiers
  }

  /**
   * Whether one of a principal's keys signed. If none did, the keys are read again, since the host may have changed them: at most
   * once a minute, because strangers can cause it.
   */
  async check(
    party: Party,
    isSigned: (verifiers: readonly Verifier[]) => Promise<boolean>,
  ): Promise<boolean> {
    const did = didOf(party)
    if (await isSigned(await this.verifiers(party))) return true
    const readAt = this.#known.get(did)?.readAt ?? 0
    if (!did.startsWith('did:web:') || platform.now() - readAt < MIN_AGE_MS) return false
    this.#known.delete(did)
    return isSigned(await this.verifiers(party))
  }
}

/** Returns the principal of a DID. */
export const principalOf = (did: string): Principal => ({ did: () => did as DID }) as Principal

const parseKey = (key: string, did: string): Verifier => {
  try {
    const verifier = Principals.parse(key as DID)
    return (key === did ? verifier : verifier.withDID(did as never)) as unknown as Verifier
  } catch (cause) {
    throw new W3Error('UnknownKeys', `${key.slice(0, 200)} is not a did:key: ${reasonOf(cause)}`, { cause })
  }
}

const MAX_DOCUMENT_BYTES = 64 * 1024
/** Methods of a document, as in the services. */
const MAX_METHODS = 32

const LOCALHOST = /^(localhost|127(\.\d+){3})$/
const HOST = /^did:web:([a-z0-9.-]+)(?:%3[Aa](\d{1,5}))?$/

/** Reads the document of a `did:web` from its host. */
const fetchDocument = async (did: string, fetch: Fetch): Promise<unknown> => {
  const [, host, port] = HOST.exec(did) ?? []
  if (host === undefined)
    throw new W3Error(
      'UnknownKeys',
      `The keys of ${did} are not known: it is no did:key or did:web of a host`,
    )
  const scheme = LOCALHOST.test(host) ? 'http' : 'https'
  const url = `${scheme}://${host}${port === undefined ? '' : `:${port}`}/.well-known/did.json`
  const { status, body } = await request(url, { fetch, maxBytes: MAX_DOCUMENT_BYTES })
  try {
    if (status !== 200) throw new Error(`it answered ${status}`)
    return JSON.parse(new TextDecoder().decode(body))
  } catch (cause) {
    throw new W3Error('UnknownKeys', `${url} is not a DID document: ${reasonOf(cause)}`, { cause })
  }
}

/** The relationships whose methods sign. A method under `keyAgreement` encrypts. */
const SIGNING = ['authentication', 'assertionMethod', 'capabilityInvocation', 'capabilityDelegation']

/**
 * Returns the Ed25519 keys of a DID in its document, as `did:key`s. A method counts as in the services: see docs/protocol.md,
 * "Keys".
 */
const keysIn = (document: unknown, did: string): string[] => {
  const fields = (isRecord(document) ? document : {}) as Record<string, unknown>
  const invalid = (reason: string) =>
    new W3Error('UnknownKeys', `The DID document of ${did} is not valid: ${reason}`)
  if (fields.id !== did) throw invalid(`its id is ${String(fields.id).slice(0, 200)}`)
  const listOf = (name: string) => [fields[name] ?? []].flat()
  const absolute = (id: string) => (id.startsWith('#') ? `${did}${id}` : id)

  const signing = SIGNING.flatMap(listOf)
  const listed = listOf('verificationMethod').filter(isRecord)
  const embedded = [...signing, ...listOf('keyAgreement')].filter(isRecord)
  if (listed.length + embedded.length > MAX_METHODS) throw invalid(`it has more than ${MAX_METHODS} methods`)
  const idsIn = (list: unknown[]) => new Set(list.filter(id => typeof id === 'string').map(absolute))
  const signs = idsIn(signing)
  const encrypts = idsIn(listOf('keyAgreement'))
  const isSigning = ({ id }: Method) =>
    typeof id !== 'string' || signs.has(absolute(id)) || !encrypts.has(absolute(id))

  const isPresent = ({ id, controller, expires, revoked }: Method) =>
    (controller ?? absolute(typeof id === 'string' ? id : '#').split('#')[0]) === did &&
    ![expires, revoked].some(time => time !== undefined && !(Date.parse(`${time}`) > platform.now()))
  const methods = [...listed.filter(isSigning), ...signing.filter(isRecord)].filter(isPresent)
  const keys = [...new Set(methods.flatMap(method => multibaseOf(method) ?? []))].map(key => `did:key:${key}`)
  if (keys.length === 0) throw invalid('it has no Ed25519 key')
  return keys
}

type Method = Record<string, unknown>

const isRecord = (value: unknown): value is Method =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The multicodec of an Ed25519 public key, and the bytes of such a key. */
const ED25519 = [0xed, 0x01]
const KEY_BYTES = 32

/** Returns the Ed25519 key of a method in multibase; `undefined` if it has another key. */
const multibaseOf = ({
  type,
  publicKeyMultibase,
  publicKeyJwk,
  publicKeyBase58,
}: Method): string | undefined => {
  try {
    if (type === 'Multikey' || type === 'Ed25519VerificationKey2020') {
      const [first, second, ...key] = base58btc.decode(publicKeyMultibase as string)
      return first === ED25519[0] && second === ED25519[1] ? encodeKey(Uint8Array.from(key)) : undefined
    }
    if (type === 'Ed25519VerificationKey2018')
      return encodeKey(base58btc.baseDecode(publicKeyBase58 as string))
    const { kty, crv, x } = publicKeyJwk as Record<string, unknown>
    return kty === 'OKP' && crv === 'Ed25519' ? encodeKey(base64url.baseDecode(x as string)) : undefined
  } catch {
    return undefined
  }
}

const encodeKey = (key: Uint8Array): string | undefined =>
  key.byteLength === KEY_BYTES ? base58btc.encode(Uint8Array.from([...ED25519, ...key])) : undefined
