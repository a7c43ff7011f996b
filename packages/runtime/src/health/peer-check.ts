import type { DID, Receipt, Signer } from '@ucanto/interface'
import type { Failure, Result, Task } from '@w3filecoin/capabilities'
import * as z from 'zod'
import type { Clock, Fetch, Random } from '../ports.ts'
import { CLOCK_TOLERANCE_MS } from '../records/sweep.ts'
import { type DidWebOptions, documentUrl, readDocument } from '../ucan/did-web.ts'
import type { Peer } from '../ucan/peer.ts'
import type { PeerConfig } from '../ucan/peers.ts'
import { readBody } from '../ucan/read-body.ts'
import { type Check, type Finding, failing, fine } from './check.ts'
import { reasonOf } from './reason-of.ts'

/** Maximum time for the answer to `GET /`. */
const TIMEOUT_MS = 10_000
/** Maximum size of that answer, in bytes. */
const MAX_BYTES = 64 * 1024

/** The tools with which a service checks its peers and its own document. */
export interface PeerCheckTools {
  /** Name of this service. */
  service: string
  fetch: Fetch
  now: Clock
  /** How the host of a `did:web` is asked for its keys. */
  didWeb: Pick<DidWebOptions, 'fetch' | 'allowPrivate'>
}

/** The tools that every service passes to its checks, beside its configuration. */
export interface Checking extends Omit<PeerCheckTools, 'service'> {
  id: Signer
  /** Opens a peer of the configuration. */
  peer: (config: PeerConfig) => Peer
  random: Random
}

/** Invocations that change nothing at the peer, and whose answers show whether it lists this service. */
export interface Question {
  /** Returns the invocations, at least one. They are sent in one message. */
  ask: () => Promise<Task[]>
  /** Names of the failures that mean that the peer does not list this service. Every other signed answer is fine. */
  refusals: readonly string[]
}

export interface PeerCheckOptions {
  config: PeerConfig
  peer: Peer
  /** The setting that names the peer, e.g. `dealTracker`, or `storefronts` of a list. */
  setting: string
  /** Why the peer is asked nothing, or the question. If absent, this service never invokes the peer. */
  question?: Question | string | undefined
  /** Whether the peer may be configured by an alias. Tasks that it promises are issued under its DID. */
  aliasIsFine?: boolean
}

/**
 * Returns the check of a peer: it answers at its URL, under its DID, with its keys and a similar clock, and lists this service.
 * There is none for a peer without a URL. The finding is the first problem.
 */
export const peerChecks = (options: PeerCheckOptions, tools: PeerCheckTools): Check[] => {
  const { config, setting } = options
  const { did, url } = config
  if (url === undefined) return []
  const run = () => checkPeer({ ...options, url }, tools)
  return [{ name: `peer ${setting} ${did}`, check: 'peer', subject: did, setting, run }]
}

const checkPeer = async (
  { config, url, peer, setting, question, aliasIsFine = false }: PeerCheckOptions & { url: string },
  tools: PeerCheckTools,
): Promise<Finding> => {
  const { did } = config
  const { service, now } = tools
  const where = (field: string) => `${setting}.${field} in the settings of the ${service}`
  const unreachable = (cause: unknown) =>
    failing(
      'PeerUnreachable',
      `${did} cannot be reached at ${url}: ${reasonOf(cause)}. Check ${where('url')}, and whether the peer runs`,
    )

  let front: Front
  try {
    front = await readFront(url, tools.fetch)
  } catch (cause) {
    return unreachable(cause)
  }
  if (front.did !== undefined && front.did !== did) {
    const isAlias = (await readAliases(url, tools.fetch)).includes(did)
    if (!isAlias)
      return failing(
        'AnotherDid',
        `${url} is ${front.did}, but ${where('did')} is ${did}. Correct the DID, or ${where('url')}`,
      )
    if (!aliasIsFine)
      return failing(
        'AliasOfPeer',
        `${did} is an alias of ${front.did}, which issues its tasks under ${front.did}. Set ${where('did')} to that`,
      )
  }
  const skewMs = front.at === undefined ? 0 : front.at - now()
  if (Math.abs(skewMs) > CLOCK_TOLERANCE_MS)
    return failing(
      'ClockSkew',
      `The clock of ${did} at ${url} is ${Math.round(Math.abs(skewMs) / 60_000)} minutes ${skewMs > 0 ? 'ahead of' : 'behind'} that of the ${service}. Correct the one that is wrong`,
    )
  const keys = await checkKeys(config, url, where, tools)
  if (keys) return keys

  if (question === undefined || typeof question === 'string') {
    if (front.did === undefined) return notAService(url, front, where)
    return fine(
      `${did} answers at ${url}${question === undefined ? '' : `. Whether it lists the ${service} is not known: ${question}`}`,
    )
  }
  const tasks = await question.ask()
  let answers: Result<Receipt>[]
  try {
    answers = await peer.execute(tasks)
  } catch (cause) {
    return front.did === undefined ? notAService(url, front, where) : unreachable(cause)
  }
  for (const { ok: receipt, error } of answers) {
    if (error)
      return failing(
        'NotSigned',
        `${url} does not answer invocations as ${did}: ${error.message}. Check ${where('keys')}`,
      )
    const refusal = receipt.out.error as Failure | undefined
    if (refusal && question.refusals.includes(refusal.name))
      return failing(
        'NotListed',
        `${did} at ${url} (${where('url')}) refuses the ${service}: ${refusal.name}: ${refusal.message}`,
      )
  }
  return fine(`${did} answers at ${url}, and lists the ${service}`)
}

/** The answer of a peer to `GET /`. */
interface Front {
  status: number
  /** Absent if the answer is not that of a service of this project. */
  did: string | undefined
  /** The time of its clock, in milliseconds since 1970. */
  at: number | undefined
}

const frontSchema = z.object({ did: z.string().max(2048) })
const aliasesSchema = z.object({ alsoKnownAs: z.array(z.string()).default([]) })

/** Throws if the peer is unreachable. */
const readFront = async (url: string, fetch: Fetch): Promise<Front> => {
  const response = await request(new URL('/', url).href, fetch)
  const { status } = response
  if (status >= 500 || status === 429) {
    await response.body?.cancel()
    throw new Error(`it answers ${status}`)
  }
  const at = Date.parse(response.headers.get('date') ?? '')
  return {
    status,
    did: frontSchema.safeParse(await readJson(response)).data?.did,
    at: Number.isNaN(at) ? undefined : at,
  }
}

/** Returns the aliases in the DID document of a peer; none if it cannot be read. */
const readAliases = async (url: string, fetch: Fetch): Promise<string[]> => {
  try {
    const document = await readJson(await request(new URL('/.well-known/did.json', url).href, fetch))
    return aliasesSchema.safeParse(document).data?.alsoKnownAs ?? []
  } catch {
    return []
  }
}

const request = (url: string, fetch: Fetch): Promise<Response> =>
  fetch(url, { headers: { accept: 'application/json' }, signal: AbortSignal.timeout(TIMEOUT_MS) })

/** Returns `undefined` if the body is not JSON, or has more than `MAX_BYTES`. */
const readJson = async ({ body }: Response): Promise<unknown> => {
  const bytes = await readBody(body, MAX_BYTES)
  try {
    return bytes && JSON.parse(bytes.toString())
  } catch {
    return undefined
  }
}

const notAService = (url: string, { status }: Front, where: (field: string) => string): Finding =>
  failing(
    'NotAService',
    `${url} answers GET / with status ${status}, but not as a service: the answer has no DID. Check ${where('url')}`,
  )

/**
 * Checks that a key of the peer is one that this service accepts: one of the listed keys, or one at the host of its `did:web`.
 * Returns `undefined` if all is well.
 */
const checkKeys = async (
  { did, keys }: PeerConfig,
  url: string,
  where: (field: string) => string,
  { didWeb, fetch, now }: PeerCheckTools,
): Promise<Finding | undefined> => {
  if (did.startsWith('did:key:')) return undefined
  const document = keys ? new URL('/.well-known/did.json', url).href : documentUrl(did, didWeb)
  if (document === undefined) return undefined
  try {
    const published = await readDocument(document, did as DID, { fetch: keys ? fetch : didWeb.fetch, now })
    // A peer of other code may publish no document, and its listed keys suffice.
    if (published.error)
      return keys
        ? undefined
        : failing(
            'KeysUnreadable',
            `${document} is not the DID document of ${did}: ${published.error.message}. Check ${where('did')}, or list its keys in ${where('keys')}`,
          )
    return keys === undefined || published.ok.some(key => keys.includes(key))
      ? undefined
      : failing(
          'OtherKeys',
          `${did} has the keys ${published.ok.join(', ')} according to ${document}, but ${where('keys')} is ${keys.join(', ')}`,
        )
  } catch (cause) {
    return keys
      ? undefined
      : failing(
          'KeysUnreadable',
          `The keys of ${did} cannot be read from ${document}: ${reasonOf(cause)}. Check ${where('did')}, or list its keys in ${where('keys')}`,
        )
  }
}
