import { isDelegation } from '@ucanto/core/delegation'
import type { Delegation, DID, Signer } from '@ucanto/interface'
import { aggregateOffer, coversAbility } from '@w3filecoin/capabilities'
import { ConfigurationError, type Peers, unpackTask } from '@w3filecoin/runtime'
import { base64, base64url } from 'multiformats/bases/base64'
import { CID } from 'multiformats/cid'
import type { AggregatorConfig, StorefrontConfig } from './config.ts'
import type { Dependencies } from './dependencies.ts'

/** The delegations of `aggregate/offer` in the configuration, by the storefront that gave it to the aggregator. */
export type Delegations = ReadonlyMap<string, Delegation>

/**
 * Reads the delegations in the configuration. It checks everything but the signatures, which the dealer verifies: it has the
 * keys and the revocations.
 *
 * @throws ConfigurationError with a line for each delegation that does not authorize the offers of this aggregator
 */
export const readDelegations = async (
  storefronts: AggregatorConfig['storefronts'],
  id: Pick<Signer, 'did'>,
): Promise<Delegations> => {
  const delegations = new Map<string, Delegation>()
  const problems: string[] = []
  for (const [n, { did, delegation: text }] of storefronts.entries()) {
    if (text === undefined) continue
    const problem = await checkDelegation({ did, delegation: text }, id)
    if (problem) problems.push(`CONFIG: storefronts[${n}].${problem}`)
    else delegations.set(did, (await parseDelegation(text)) as Delegation)
  }
  if (problems.length > 0) throw new ConfigurationError(problems)
  return delegations
}

/** Returns the reason why the delegation of a storefront does not authorize the aggregator; `undefined` if it does, or if there is none. */
export const checkDelegation = async (
  { did, delegation: text }: Pick<StorefrontConfig, 'did' | 'delegation'>,
  id: Pick<Signer, 'did'>,
): Promise<string | undefined> => {
  if (text === undefined) return undefined
  const delegation = await parseDelegation(text)
  const problem =
    delegation === undefined
      ? 'is not a CAR with a delegation in base 64'
      : findProblem(delegation, { storefront: did, aggregator: id.did() })
  return problem && `delegation ${problem}`
}

/** Returns a function that finds the delegation of a storefront: that in the configuration, or that in its row of the table. */
export const delegationsOf =
  (configured: Delegations, storefronts: Peers<StorefrontConfig>): Dependencies['delegationOf'] =>
  async storefront => {
    const known = configured.get(storefront)
    if (known) return known
    const text = (await storefronts.find(storefront))?.delegation
    return text === undefined ? undefined : parseDelegation(text)
  }

/** Parses a CAR, or a CID whose multihash is the CAR itself, in base 64. Published tools print the second form. */
const parseDelegation = async (text: string): Promise<Delegation | undefined> => {
  try {
    const bytes = /^[mu]/.test(text)
      ? base64.decoder.or(base64url.decoder).decode(text)
      : new Uint8Array(Buffer.from(text, 'base64'))
    // A CID begins with its version, 1; a CAR with the length of its header, 58.
    return await unpackTask(bytes[0] === 1 ? CID.decode(bytes).multihash.digest : bytes)
  } catch {
    return undefined
  }
}

/** Returns the reason why a delegation does not authorize the aggregator's offers; `undefined` if it may. */
const findProblem = (
  delegation: Delegation,
  { storefront, aggregator }: { storefront: DID; aggregator: DID },
): string | undefined => {
  const audience = delegation.audience.did()
  if (audience !== aggregator) return `is for ${audience}, but this aggregator is ${aggregator}`
  const covers = delegation.capabilities.some(
    ({ can, with: resource, nb }) =>
      coversAbility(can, aggregateOffer.can) &&
      (resource === storefront || resource === 'ucan:*') &&
      Object.keys(nb ?? {}).length === 0,
  )
  if (!covers) return `does not delegate ${aggregateOffer.can} with ${storefront} without caveats`
  const chain = chainOf(delegation)
  if (chain.some(link => !isDelegation(link))) return 'lacks the blocks of its proofs'
  const delegations = chain.filter(isDelegation) as Delegation[]
  if (!delegations.some(({ issuer }) => issuer.did() === storefront)) return `is not from ${storefront}`
  if (delegations.some(({ expiration }) => expiration !== Infinity))
    return 'expires, or one of its proofs does. A promised offer may be sent later: delegate without expiration'
  return undefined
}

/** Returns a delegation and its proofs, as deep as they are included. */
const chainOf = (delegation: Delegation): Delegation['proofs'] => [
  delegation,
  ...delegation.proofs.flatMap(proof => (isDelegation(proof) ? chainOf(proof as Delegation) : [proof])),
]
