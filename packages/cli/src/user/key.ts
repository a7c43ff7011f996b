import { existsSync } from 'node:fs'
import { openSigner, W3Error } from '@w3filecoin/client'
import type { Context } from '../context.ts'
import type { Outcome } from '../outcome.ts'
import { keyFileOf } from './connection.ts'

/** Creates a key. It never replaces one: a new key is another agent. */
export const newKey = async (options: { key?: string }, context: Context): Promise<Outcome> => {
  const file = keyFileOf(options, context)
  if (existsSync(file))
    throw new W3Error('KeyExists', `${file} exists`, {
      hint: 'Show it with w3fil key show, or create another one with --key FILE.',
    })
  return open(file)
}

/** Shows the DID of the key, never the key. */
export const showKey = async (options: { key?: string }, context: Context): Promise<Outcome> => {
  const file = keyFileOf(options, context)
  if (!existsSync(file))
    throw new W3Error('NoKey', `There is no key in ${file}`, {
      hint: 'Create it with w3fil key new. The first w3fil add creates it, too.',
    })
  return open(file)
}

const open = async (file: string): Promise<Outcome> => {
  const did = (await openSigner(file)).did()
  return { result: { did, file }, lines: [did] }
}

/** Returns the DID of the user's key, which is created if necessary; `undefined` if it cannot be kept or read. */
export const didOfUser = async (context: Context): Promise<string | undefined> => {
  try {
    return (await openSigner(keyFileOf({}, context))).did()
  } catch {
    return undefined
  }
}
