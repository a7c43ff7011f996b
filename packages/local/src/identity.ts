import { chmodSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateKey, parseSigner } from '@w3filecoin/service'
import { UserError } from '@w3filecoin/service/user-error'

export interface Identity {
  did: `did:key:${string}`
  /** The private key as `@ucanto/principal` formats it. */
  key: string
}

export interface Address extends Identity {
  url: string
}

/**
 * Who is who on this machine: `local.json` in the data directory, for the owner's eyes only, so that any UCAN
 * client can be pointed at the running system. Keys are made once and stay; addresses are those of the last start.
 */
export type Identities = Record<string, Identity | Address>

/** What else is in the file. */
export interface Places {
  /** Where content is put, with `PUT` and `{cid}` replaced by its CID, for the storefront to read. */
  content: { url: string }
  /** The variables that point the AWS SDK at the engines. */
  engines: Record<string, string>
  /** By name of the service, the variables by which its functions find its resources. */
  resources: Record<string, Record<string, string>>
}

const FILE = 'local.json'

export const readIdentities = (data: string): Identities => read(data)?.identities ?? {}

/** Where the system is that was started last on this data. */
export const readPlaces = (data: string): Partial<Places> | undefined => read(data)?.places

const read = (data: string): { identities: Identities; places: Partial<Places> } | undefined => {
  const path = join(data, FILE)
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new UserError(`${path} can not be read: ${(cause as Error).message}`)
  }
  try {
    const { content, engines, resources, ...identities } = JSON.parse(text)
    for (const { key } of Object.values(identities as Identities)) parseSigner(key)
    return { identities, places: { content, engines, resources } }
  } catch {
    throw new UserError(
      `${path} holds the keys of this system and can not be understood; restore it or remove ${data}`,
    )
  }
}

/** Replaces the file as a whole, so that a crash leaves the old one or the new one. */
export const writeIdentities = (data: string, identities: Identities, places: Places): void => {
  const path = join(data, FILE)
  writeFileSync(`${path}.new`, `${JSON.stringify({ ...identities, ...places }, null, 2)}\n`, {
    mode: 0o600,
    flush: true,
  })
  chmodSync(`${path}.new`, 0o600)
  renameSync(`${path}.new`, path)
}

export const newIdentity = async (): Promise<Identity> => {
  const key = await generateKey()
  return { did: parseSigner(key).did() as Identity['did'], key }
}
