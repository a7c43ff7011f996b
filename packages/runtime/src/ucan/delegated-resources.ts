import { isDelegation } from '@ucanto/core'
import type { Delegation, DID, Invocation, Signer } from '@ucanto/interface'
import { coversAbility } from '@w3filecoin/capabilities'
import type { Authority } from './authority.ts'
import type { Input } from './handler.ts'
import { viewsOf } from './proof-chain.ts'
import { authorizeFor, type Parser } from './ucanto.ts'

/** Maximum number of delegations of one invocation that are searched for resources, and of resources found in them. */
const MAX_DELEGATIONS = 50
const MAX_RESOURCES = 10

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
  { invocation, candidate }: Pick<Input<unknown>, 'invocation' | 'candidate'>,
  resources: readonly DID[],
): Promise<DID | undefined> => {
  const [claim] = invocation.capabilities
  const context = authority.context(id, candidate)
  for (const resource of resources) {
    const claimed = { ...claim, with: resource }
    for (const view of viewsOf(candidate, claimed))
      if (await authorizeFor(capability, view, claimed, context)) return resource
  }
  return undefined
}
