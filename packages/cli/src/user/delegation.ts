import { resolve } from 'node:path'
import { delegate as delegateTo, encodeDelegation, openSigner } from '@w3filecoin/client'
import type { Context } from '../context.ts'
import { type Outcome, usageError } from '../outcome.ts'
import { shownPath } from '../text.ts'
import { type ConnectionOptions, connectToStorefront, keyFileOf, readDelegations } from './connection.ts'
import { save } from './save.ts'

export interface DelegateOptions {
  can: string[]
  with?: string
  valid: number
  delegation?: string[]
  output?: string
  key?: string
}

/** Delegates abilities of the user's key to another agent, as a file. */
export const delegate = async (
  audience: string,
  options: DelegateOptions,
  context: Context,
): Promise<Outcome> => {
  if (!audience.startsWith('did:'))
    throw usageError(`${audience} is not a DID`, 'Ask the other agent for the output of w3fil key show.')
  const signer = await openSigner(keyFileOf(options, context))
  const delegation = await delegateTo(signer, {
    audience,
    abilities: options.can,
    with: options.with ?? signer.did(),
    seconds: options.valid,
    proofs: await readDelegations(options.delegation, context),
  })
  const path = resolve(context.cwd, options.output ?? `${delegation.cid}.delegation`)
  await save(path, await encodeDelegation(delegation), 'pass another file with -o')
  const file = shownPath(path, context.cwd)
  const { expiration } = delegation
  const result = {
    file,
    delegation: `${delegation.cid}`,
    audience,
    abilities: options.can,
    with: options.with ?? signer.did(),
    expires: Number.isFinite(expiration) ? new Date(expiration * 1000).toISOString() : null,
  }
  return { result, lines: [file] }
}

/** Revokes a delegation at one service. */
export const revoke = async (
  path: string,
  { service, via, ...options }: ConnectionOptions & { service?: string; via?: string[] },
  context: Context,
): Promise<Outcome> => {
  const [delegation] = await readDelegations([path], context)
  const between = await readDelegations(via, context)
  // Every service revokes in the same way, also one that is not a storefront.
  const at = await connectToStorefront(
    service === undefined ? options : { ...options, storefront: service },
    context,
  )
  await at.revoke(delegation!, { path: between, signal: context.signal })
  const result = { delegation: `${delegation!.cid}`, service: at.did }
  return { result, lines: [`${at.did} has revoked ${delegation!.cid}`] }
}
