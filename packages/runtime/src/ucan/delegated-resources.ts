import { isDelegation } from '@ucanto/core'
import type { Delegation, DID, Invocation, Signer } from '@ucanto/interface'
import { coversAbility } from '@w3filecoin/capabilities'
import type { Authority } from './authority.ts'
import { MESSAGE_LIMITS } from './message.ts'
import { Chains } from './proof-chain.ts'
import { authorizeFor, blocksOf, type Parser } from './ucanto.ts'

/** Maximum number of delegations of one invocation that are searched for resources, and of resources found in them. */
const MAX_DELEGATIONS = 50
const MAX_RESOURCES = 10

/** Limits of the proofs of one invocation, checked for all resources: clients need a handful of signature checks. */
const LIMITS = { depth: MESSAGE_LIMITS.chain.depth, checks: 100 }

/**
 * Returns the resources, other than its own, that the proofs of an invocation name for its ability; the nearest first. It
 * only reads the proofs: use {@link firstDelegated} to check whether they are valid.
 */
export const resourcesIn = (invocation: Invocation): DID[] => {
  const [claim] = invocation.capabilities
  const resources = new Set<DID>()
  const seen = new Set<string>()
  const open: Delegation[] = [invocation]
  for (let next = open.shift(); next !== undefined && seen.size < MAX_DELEGATIONS; next = open.shift()) {
    if (seen.has(`${next.cid}`)) continue
    seen.add(`${next.cid}`)
    for (const { can, with: resource } of next.capabilities)
      if (coversAbility(can, claim.can))
        resources.add((resource === 'ucan:*' ? next.issuer.did() : resource) as DID)
    open.push(...next.proofs.filter(isDelegation))
  }
  resources.delete(claim.with as DID)
  return [...resources].filter(resource => resource.startsWith('did:')).slice(0, MAX_RESOURCES)
}

/**
 * Returns the first of the resources for which the issuer could have made the same invocation: its proofs delegate the
 * ability on this resource to the issuer, and are valid now (times, signatures, attenuation, revocations). `undefined` if
 * there is none.
 */
export const firstDelegated = async (
  { id, authority }: { id: Signer; authority: Authority },
  capability: Parser,
  invocation: Invocation,
  resources: readonly DID[],
): Promise<DID | undefined> => {
  const [claim] = invocation.capabilities
  // The message was bounded for the invocation's own resource. Its proofs may cost more for another one.
  const chains = new Chains(blocksOf(invocation), LIMITS)
  const context = authority.context(id)
  for (const resource of resources) {
    const claimed = { ...claim, with: resource }
    if (chains.take(invocation.cid, claimed).error) continue
    if (await authorizeFor(capability, invocation, claimed, context)) return resource
  }
  return undefined
}
