import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { generateKey, parseSigner } from '@w3filecoin/runtime'
import { UserError } from '@w3filecoin/runtime/user-error'
import { writePrivateFile, writePublicFile } from './private-files.ts'
import { hasTables } from './table-engine.ts'

export interface Identity {
  did: `did:key:${string}`
  /** The private key as `@ucanto/principal` formats it. */
  key: string
}

export interface Address extends Identity {
  url: string
}

/** By role, e.g. `dealTracker` or `agent`. */
export type Identities = Record<string, Identity>

/**
 * The facts that a client of the running system needs: `local.json` in the data directory. It has no secrets, so any user
 * of the machine may read it. Every start replaces it.
 *
 * @example { "storefront": { "url": "http://127.0.0.1:4001", "did": "did:key:z6Mk…" }, "agent": { "did": "did:key:z6Mk…" },
 *            "content": { "url": "http://127.0.0.1:4005/storefront-content/{cid}" }, "engines": { … }, "resources": { … } }
 */
export interface Places {
  /** By role. */
  services: Record<string, Pick<Address, 'url' | 'did'>>
  agent: Pick<Identity, 'did'>
  /** URL template for storing content with `PUT`. */
  content: { url: string }
  /** Environment variables that point the AWS SDK at the engines. */
  engines: Record<string, string>
  /** By service name, the environment variables that name its tables, queues and buckets. */
  resources: Record<string, Record<string, string>>
}

const PLACES_FILE = 'local.json'

/**
 * The private keys by role. Only their owner can read the file. Keys are created once.
 *
 * @example { "storefront": "MgC…", "agent": "MgC…" }
 */
const KEYS_FILE = 'keys.json'

/** Returns the identities of a data directory, by role. */
export const readIdentities = (data: string): Identities => readKeys(data) ?? readEarlierKeys(data) ?? {}

/** Returns the addresses of the system that was started last on this data, or `undefined` before the first start. */
export const readPlaces = (data: string): Places | undefined => {
  const text = readIfExists(join(data, PLACES_FILE))
  if (text === undefined) return undefined
  const { agent, content, engines, resources, ...services } = JSON.parse(text)
  return { services, agent, content, engines, resources }
}

const readKeys = (data: string): Identities | undefined => {
  const path = join(data, KEYS_FILE)
  const text = readIfExists(path)
  if (text === undefined) return undefined
  try {
    const keys = Object.entries<string>(JSON.parse(text))
    return Object.fromEntries(keys.map(([role, key]) => [role, identityOf(key)]))
  } catch {
    throw invalidKeys(path, data)
  }
}

/** Reads the keys that an earlier version kept in `local.json`; `undefined` if the file has none, or does not exist. */
const readEarlierKeys = (data: string): Identities | undefined => {
  const path = join(data, PLACES_FILE)
  const text = readIfExists(path)
  if (text === undefined) return undefined
  try {
    const fields = Object.entries<{ key?: string }>(JSON.parse(text))
    const known = fields.flatMap(([role, { key }]) => (key === undefined ? [] : [[role, identityOf(key)]]))
    return known.length === 0 ? undefined : Object.fromEntries(known)
  } catch {
    throw invalidKeys(path, data)
  }
}

const invalidKeys = (path: string, data: string) =>
  new UserError(`${path}, which holds the keys of this system, is not valid. Restore it or remove ${data}.`)

const readIfExists = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new UserError(`Cannot read ${path}: ${(cause as Error).message}. Check its permissions.`)
  }
}

/**
 * Returns the identities of a data directory, and creates those of missing roles. Call it before an engine stores anything in
 * the directory: then data without keys are those of a system whose file was removed.
 *
 * Keys of an earlier version are moved out of `local.json`, which is written again when the system is up.
 *
 * @throws UserError for such data: the services would have new DIDs, and the tasks in their records have the old ones
 */
export const openIdentities = async (data: string, roles: readonly string[]): Promise<Identities> => {
  const path = join(data, KEYS_FILE)
  const places = join(data, PLACES_FILE)
  const kept = readKeys(data)
  const known = kept ?? readEarlierKeys(data)
  if (known === undefined && (existsSync(places) || hasTables(data)))
    throw new UserError(
      `${path}, which holds the keys of this system, is missing, but its data is in ${data}. Services with new keys cannot continue it. Restore the file, or remove ${data} to start from scratch.`,
    )
  const created = await Promise.all(
    roles
      .filter(role => known?.[role] === undefined)
      .map(async role => [role, identityOf(await generateKey())] as const),
  )
  const identities = { ...known, ...Object.fromEntries(created) }
  if (kept === undefined || created.length > 0) {
    const keys = Object.entries(identities).map(([role, { key }]) => [role, key])
    writePrivateFile(path, toJson(Object.fromEntries(keys)))
  }
  if (kept === undefined) rmSync(places, { force: true })
  return identities
}

/** Replaces `local.json`. */
export const writePlaces = (data: string, { services, ...places }: Places): void =>
  writePublicFile(join(data, PLACES_FILE), toJson({ ...services, ...places }))

const toJson = (value: object): string => `${JSON.stringify(value, null, 2)}\n`

const identityOf = (key: string): Identity => ({ did: parseSigner(key).did() as Identity['did'], key })
