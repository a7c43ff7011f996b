import type { LookupAddress, LookupAllOptions } from 'node:dns'
import { isIP } from 'node:net'
import type { Fetch } from '@w3filecoin/client'
import type { Clock, Environment } from '@w3filecoin/runtime'
import * as z from 'zod'
import { duration } from '../../text.ts'
import { type Diagnosis, diagnose } from './diagnosis.ts'

/** The public address of a service, as the deploy publishes it. */
export interface Address {
  url: string
  did: string
  /** The `did:key`s that sign for it. The first one is that of its present private key. */
  keys: string[]
}

/** The tools for questions to a service. */
export interface Surroundings {
  fetch: Fetch
  lookup: (host: string, options: LookupAllOptions) => Promise<LookupAddress[]>
  now: Clock
  /** Options that select the system, e.g. `--stage production`. */
  system: string
  /** Returns the place of the logs of a function. */
  logOf: (service: string, name: string) => string
}

/** The part of the answer to `GET /` that is checked. */
const About = z.object({
  name: z.string(),
  did: z.string(),
  version: z.string().optional(),
  content: z.object({ from: z.string().optional(), upload: z.string().optional() }).optional(),
})
export type About = z.infer<typeof About>

const DidDocument = z.object({
  id: z.string(),
  verificationMethod: z.array(z.object({ publicKeyMultibase: z.string() })),
})

const TIMEOUT_MS = 10_000
const MAX_BYTES = 64 * 1024
/** Services tolerate more, but delegations may begin and end up to this much too late. */
const MAX_CLOCK_DIFFERENCE_MS = 30_000

/** Reads the published address of a service; `undefined` if there is none. */
export const readAddress = ({ SERVICE_URL, SERVICE_DID, SERVICE_KEYS }: Environment): Address | undefined =>
  SERVICE_URL && SERVICE_DID && SERVICE_KEYS
    ? { url: SERVICE_URL, did: SERVICE_DID, keys: SERVICE_KEYS.split(' ') }
    : undefined

/**
 * Checks that a service answers at its address, under its DID, with its keys and with the right time. A failed check ends the
 * checks that depend on it. Returns the answer to `GET /` too, if it is that of the service.
 */
export const checkAddress = async (
  service: string,
  address: Address,
  surroundings: Surroundings,
): Promise<{ diagnoses: Diagnosis[]; about?: About | undefined }> => {
  const name = await checkName(service, address, surroundings)
  if (!name.ok) return { diagnoses: [name] }
  const { diagnosis, about, at } = await checkAnswer(service, address, surroundings)
  if (about === undefined) return { diagnoses: [name, diagnosis] }
  const identity = checkIdentity(service, address, about)
  return {
    ...(identity.ok && { about }),
    diagnoses: [
      name,
      diagnosis,
      identity,
      await checkKeys(service, address, surroundings),
      checkClock(service, at),
    ],
  }
}

const checkName = async (service: string, { url }: Address, { lookup }: Surroundings): Promise<Diagnosis> => {
  const { well, ill } = diagnose(service, 'name')
  const { hostname } = new URL(url)
  if (isIP(hostname)) return well(`${hostname} is an address`)
  try {
    const found = await lookup(hostname, { all: true })
    return well(`${hostname} resolves to ${found.map(({ address }) => address).join(', ')}`)
  } catch (cause) {
    return ill(
      `${hostname} does not resolve: ${reasonOf(cause)}`,
      'Check its record in Route 53, and that the registrar of the domain names the servers of this zone. A new record may take some minutes.',
    )
  }
}

interface Answer {
  diagnosis: Diagnosis
  about?: About
  /** The time of the answer here, and as the service has it. */
  at?: { here: number; there: number }
}

const checkAnswer = async (
  service: string,
  { url }: Address,
  { fetch, now, logOf }: Surroundings,
): Promise<Answer> => {
  const { well, ill } = diagnose(service, 'answer')
  const log = `See ${logOf(service, 'api')}`
  try {
    const sentAt = now()
    const response = await ask(fetch, url)
    const here = now()
    const date = response.headers.get('date')
    const text = await textOf(response)
    if (response.status !== 200)
      return { diagnosis: ill(`${url} answers ${response.status}: ${text.slice(0, 200)}`, log) }
    const { data: about, error } = About.safeParse(parseJson(text))
    if (error)
      return {
        diagnosis: ill(
          `${url} does not answer as a service: ${z.prettifyError(error).replaceAll(/\s+/g, ' ')}`,
          'Another server has this address. Check the domain and the published address.',
        ),
      }
    const how = url.startsWith('https:') ? 'with a valid certificate ' : ''
    return {
      diagnosis: well(
        `${url} answers ${how}in ${duration(here - sentAt)}, version ${about.version ?? 'unknown'}`,
      ),
      about,
      ...(date !== null && { at: { here: (sentAt + here) / 2, there: Date.parse(date) } }),
    }
  } catch (cause) {
    return {
      diagnosis: ill(
        `${url} cannot be reached: ${reasonOf(cause)}`,
        isOfCertificate(cause)
          ? 'Check the certificate in AWS Certificate Manager: it must be issued for this name, and valid.'
          : `Check that the stage is deployed, and that this machine has a connection. ${log}`,
      ),
    }
  }
}

const checkIdentity = (service: string, { url, did }: Address, about: About): Diagnosis => {
  const { well, ill } = diagnose(service, 'identity')
  if (about.name !== service)
    return ill(
      `${url} is the ${about.name} ${about.did}, not the ${service}`,
      'The address leads to another service. Check the record of the name and the mapping of the API, then deploy again.',
    )
  return about.did === did
    ? well(`it is ${did}`)
    : ill(
        `${url} answers as ${about.did}, but this system has published ${did}`,
        'Every peer that knows the published DID refuses its receipts. Check the key of the service and `domain`, then deploy again.',
      )
}

const checkKeys = async (
  service: string,
  { url, did, keys }: Address,
  { fetch }: Surroundings,
): Promise<Diagnosis> => {
  const { well, ill } = diagnose(service, 'keys')
  const place = `${new URL('/.well-known/did.json', url)}`
  try {
    const response = await ask(fetch, place)
    const { data: document, error } = DidDocument.safeParse(parseJson(await textOf(response)))
    if (error)
      return ill(
        `${place} answers ${response.status}, without a DID document`,
        'Peers that do not list the keys of the service refuse its signatures. Check that the address leads to the service.',
      )
    const found = document.verificationMethod.map(method => `did:key:${method.publicKeyMultibase}`)
    const missing = keys.filter(key => !found.includes(key))
    if (document.id === did && missing.length === 0)
      return well(`${place} has ${found.length === 1 ? 'its key' : `its ${found.length} keys`}`)
    return ill(
      document.id === did
        ? `${place} lacks ${missing.join(', ')}`
        : `${place} describes ${document.id}, not ${did}`,
      'Peers refuse signatures of the missing keys. Check the key of the service and `formerKeys`, then deploy again.',
    )
  } catch (cause) {
    return ill(`${place} cannot be read: ${reasonOf(cause)}`, 'Repeat the command.')
  }
}

const checkClock = (service: string, at: Answer['at']): Diagnosis => {
  const { well, ill } = diagnose(service, 'clock')
  if (at === undefined || Number.isNaN(at.there))
    return ill('its answer has no date', 'Check which server answers at the address.')
  const difference = at.there - at.here
  // The header has whole seconds, rounded down.
  const shown = duration(Math.max(0, Math.abs(difference + 500) - 500))
  return Math.abs(difference) <= MAX_CLOCK_DIFFERENCE_MS
    ? well(`it differs from this machine's by ${shown} or less`)
    : ill(
        `it is ${shown} ${difference > 0 ? 'ahead of' : 'behind'} this machine's`,
        'Check the clock of this machine first. With a wrong clock, delegations begin and end at the wrong time.',
      )
}

const ask = (fetch: Fetch, url: string): Promise<Response> =>
  fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(TIMEOUT_MS) })

/** Reads the beginning of an answer. */
const textOf = async ({ body }: Response): Promise<string> => {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of body ?? []) {
    chunks.push(chunk)
    bytes += chunk.byteLength
    // Leaving the loop cancels the body.
    if (bytes > MAX_BYTES) break
  }
  return Buffer.concat(chunks).toString()
}

/** Returns `undefined` if the text is not JSON. */
const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The codes of OpenSSL and Node for certificates that are not valid for a name. */
const CERTIFICATE_ERROR = /^(CERT_|ERR_TLS_CERT|ERR_SSL_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/

const isOfCertificate = (cause: unknown): boolean =>
  CERTIFICATE_ERROR.test((cause as { cause?: { code?: string } }).cause?.code ?? '')

/** Returns the reason of a failed request, with the cause that `fetch` hides behind "fetch failed". */
const reasonOf = (cause: unknown): string => {
  const { message, cause: inner } = cause as { message?: string; cause?: { message?: string; code?: string } }
  return inner?.message || inner?.code || message || `${cause}`
}
