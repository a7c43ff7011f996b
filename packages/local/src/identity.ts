import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateKey, parseSigner } from '@w3filecoin/runtime'
import { UserError } from '@w3filecoin/runtime/user-error'
import { writePrivateFile } from './private-files.ts'
import { hasTables } from './table-engine.ts'

export interface Identity {
  did: `did:key:${string}`
  /** The private key as `@ucanto/principal` formats it. */
  key: string
}

export interface Address extends Identity {
  url: string
}

/**
 * Keys and addresses by role: `local.json` in the data directory, with which any UCAN client can use the running
 * system. Only the owner can read the file. Keys are created once; addresses are those of the last start.
 *
 * @example { "storefront": { "url": "http://127.0.0.1:4001", "did": "did:key:z6Mk…", "key": "MgC…" } }
 */
export type Identities = Record<string, Identity | Address>

/** The other fields of the file. */
export interface Places {
  /** URL template for storing content with `PUT`, e.g. `http://127.0.0.1:40124/storefront-content/{cid}`. */
  content: { url: string }
  /** Environment variables that point the AWS SDK at the engines. */
  engines: Record<string, string>
  /** By service name, the environment variables that name its tables, queues and buckets. */
  resources: Record<string, Record<string, string>>
}

const FILE = 'local.json'

export const readIdentities = (data: string): Identities => read(data)?.identities ?? {}

/** Returns the addresses of the system that was started last on this data. */
export const readPlaces = (data: string): Partial<Places> | undefined => read(data)?.places

const read = (data: string): { identities: Identities; places: Partial<Places> } | undefined => {
  const path = join(data, FILE)
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new UserError(`Cannot read ${path}: ${(cause as Error).message}. Check its permissions.`)
  }
  try {
    const { content, engines, resources, ...identities } = JSON.parse(text)
    for (const { key } of Object.values(identities as Identities)) parseSigner(key)
    return { identities, places: { content, engines, resources } }
  } catch {
    throw new UserError(
      `${path}, which holds the keys of this system, is not valid. Restore it or remove ${data}.`,
    )
  }
}

/**
 * Returns the identities of a data directory, and creates those of missing roles. Call it before an engine stores anything in
 * the directory: then data without keys are those of a system whose file was removed.
 *
 * @throws UserError for such data: the services would have new DIDs, and the tasks in their records have the old ones
 */
export const openIdentities = async (data: string, roles: readonly string[]): Promise<Identities> => {
  const known = read(data)
  if (known === undefined && hasTables(data))
    throw new UserError(
      `${join(data, FILE)}, which holds the keys of this system, is missing, but its data is in ${data}. Services with new keys cannot continue it. Restore the file, or remove ${data} to start from scratch.`,
    )
  const created = await Promise.all(
    roles
      .filter(role => known?.identities[role] === undefined)
      .map(async role => [role, await createIdentity()] as const),
  )
  const identities = { ...known?.identities, ...Object.fromEntries(created) }
  if (created.length > 0) writeIdentities(data, identities, known?.places)
  return identities
}

/** Replaces the file. */
export const writeIdentities = (data: string, identities: Identities, places?: Partial<Places>): void =>
  writePrivateFile(join(data, FILE), `${JSON.stringify({ ...identities, ...places }, null, 2)}\n`)

const createIdentity = async (): Promise<Identity> => {
  const key = await generateKey()
  return { did: parseSigner(key).did() as Identity['did'], key }
}
