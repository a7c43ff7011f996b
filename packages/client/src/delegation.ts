import { delegate as issue } from '@ucanto/client'
import { extract } from '@ucanto/core/delegation'
import type { Delegation, DID, Proof, Signer } from '@ucanto/interface'
import { platform } from '#platform'
import { reasonOf, W3Error } from './error.ts'
import { principalOf } from './keys.ts'

/** The contents of a delegation. */
export interface DelegateOptions {
  /** The DID of the principal that may use the abilities. */
  audience: string
  /** Abilities, e.g. `filecoin/offer`, or `filecoin/*`. */
  abilities: readonly string[]
  /** The resource. The default is the issuer's own DID. */
  with?: string
  /** Seconds from now until the delegation ends. `Infinity`: it never ends. */
  seconds: number
  /** The delegations that the issuer rests on, if the resource is not its own. */
  proofs?: readonly Proof[]
}

/**
 * Delegates abilities to another agent.
 *
 * @param issuer the key of the principal that delegates
 * @param options the audience, the abilities, the resource and the duration
 * @example
 * const delegation = await delegate(w3.signer, { audience: 'did:key:z6Mk…', abilities: ['filecoin/*'], seconds: 86_400 })
 */
export const delegate = async (
  issuer: Signer,
  { audience, abilities, with: resource = issuer.did(), seconds, proofs = [] }: DelegateOptions,
): Promise<Delegation> =>
  (await issue({
    issuer,
    audience: principalOf(audience),
    capabilities: abilities.map(can => ({ can, with: resource as DID })),
    expiration: Number.isFinite(seconds)
      ? Math.floor(platform.now() / 1000 + seconds)
      : Number.POSITIVE_INFINITY,
    proofs: [...proofs],
  } as never)) as unknown as Delegation

/**
 * Encodes a delegation with the ones that it rests on as bytes (a CAR), to store it or to send it to its audience.
 *
 * @param delegation of {@link delegate}, or of another UCAN library
 * @example await writeFile('agent.ucan', await encodeDelegation(delegation))
 */
export const encodeDelegation = async (delegation: Delegation): Promise<Uint8Array> => {
  const { ok, error } = await delegation.archive()
  if (error) throw error
  return ok
}

/**
 * Decodes a delegation for `proofs`.
 *
 * @param bytes a CAR of {@link encodeDelegation} or of `delegation.archive()`
 * @throws W3Error `InvalidAnswer` if the bytes are not a delegation
 * @example connect(url, { with: space, proofs: [await decodeDelegation(await readFile('agent.ucan'))] })
 */
export const decodeDelegation = async (bytes: Uint8Array): Promise<Delegation> => {
  const { ok, error } = await extract(bytes)
  if (error)
    throw new W3Error('InvalidAnswer', `The bytes are not a delegation: ${reasonOf(error)}`, { hint: '' })
  return ok as unknown as Delegation
}
