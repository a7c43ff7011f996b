import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Delegation } from '@ucanto/interface'
import {
  type ConnectOptions,
  connect,
  decodeDelegation,
  keyPlace,
  type Storefront,
  W3Error,
} from '@w3filecoin/client'
import type { Context } from '../context.ts'
import { shownPath } from '../text.ts'
import { findLocalSystem, type LocalSystem } from './local-system.ts'

export interface ConnectionOptions {
  storefront?: string
  data?: string
  key?: string
  with?: string
  delegation?: string[]
}

/** The data directory of a local system, below the working directory. */
const DATA = '.w3filecoin'

export const localSystemOf = (
  { data = DATA }: { data?: string },
  { cwd }: Context,
): LocalSystem | undefined => findLocalSystem(resolve(cwd, data))

/** Returns the path of the file with the agent's key. */
export const keyFileOf = ({ key }: { key?: string }, { cwd, env }: Context): string => {
  const named = key ?? env.W3FIL_KEY
  return named ? resolve(cwd, named) : keyPlace()
}

/** Connects to the storefront that the user names, or to that of the local system. */
export const connectToStorefront = async (
  options: ConnectionOptions,
  context: Context,
  more: Pick<ConnectOptions, 'upload' | 'onRetry'> = {},
): Promise<Storefront> => {
  const { url, service } = findStorefront(options, context)
  return connect(url, {
    key: keyFileOf(options, context),
    with: options.with,
    proofs: await readDelegations(options.delegation, context),
    service,
    fetch: context.fetch,
    signal: context.signal,
    onRetry: ({ pauseMs, reason }) =>
      context.note(`${url}: ${reason}. Trying again in ${(pauseMs / 1000).toFixed(1)} s`),
    ...more,
  })
}

const findStorefront = (
  options: ConnectionOptions,
  context: Context,
): { url: string; service: string | undefined } => {
  const named = options.storefront ?? context.env.W3FIL_STOREFRONT
  if (named) {
    if (!named.startsWith('did:')) return { url: named, service: undefined }
    throw new W3Error('Usage', `${named} is a DID, but this command needs the URL of the storefront`, {
      hint: 'Pass --storefront https://…',
    })
  }
  const local = localSystemOf(options, context)
  if (local?.isRunning && local.storefront.url)
    return { url: local.storefront.url, service: local.storefront.did }
  const directory = shownPath(resolve(context.cwd, options.data ?? DATA), context.cwd)
  throw new W3Error(
    'NoStorefront',
    local
      ? `The local system of ${directory} is not running`
      : `No storefront is named, and there is no local system in ${directory}`,
    {
      hint: 'Start a local system with w3fil dev, or pass --storefront URL (or set W3FIL_STOREFRONT).',
    },
  )
}

export const readDelegations = (paths: readonly string[] = [], { cwd }: Context): Promise<Delegation[]> =>
  Promise.all(paths.map(path => readDelegation(resolve(cwd, path))))

const readDelegation = async (path: string): Promise<Delegation> => {
  let bytes: Uint8Array
  try {
    bytes = await readFile(path)
  } catch (cause) {
    throw new W3Error('InvalidSource', `Cannot read the delegation ${path}: ${(cause as Error).message}`, {
      hint: 'Check the path. w3fil delegate writes such files.',
      cause,
    })
  }
  try {
    return await decodeDelegation(bytes)
  } catch (cause) {
    throw new W3Error('InvalidSource', `${path} is not a delegation`, {
      hint: 'Pass a file that w3fil delegate has written.',
      cause,
    })
  }
}
