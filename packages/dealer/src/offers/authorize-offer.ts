import type { DID } from '@ucanto/interface'
import { failure, type Result } from '@w3filecoin/capabilities'
import { firstDelegated, type Input, newNotListed, type Parser } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { mayName, type NamedTenant, readTenant, type TenantFields } from '../domain/tenant.ts'

/** The party that offers an aggregate, and the one that the deal is for. */
export interface Parties {
  aggregator: DID
  tenant: TenantFields
}

type PartyDependencies = Pick<
  Dependencies,
  'id' | 'authority' | 'aggregators' | 'allowedTenants' | 'storefronts'
>

type OfferInput = Pick<Input<unknown>, 'invocation' | 'candidate'>

/**
 * Returns the aggregator and the tenant of an `aggregate/offer` that the server has verified: the issuer owns the resource, or
 * its proofs delegate it. The resource is one of three:
 *
 * - the dealer: the issuer is the aggregator
 * - an aggregator that the dealer lists
 * - a storefront, which authorizes the deal as its tenant. The issuer is the aggregator: the dealer lists it, or has
 *   delegated `aggregate/offer` to it, in a proof beside that of the storefront
 *
 * Fails with `UnknownAggregator`, `TenantMismatch` or `TenantNotListed`.
 *
 * @param ability that of the invocation
 * @param named the tenant in the arguments, if the vocabulary has it there and not in the facts
 */
export const authorizeOffer = async (
  dependencies: PartyDependencies,
  ability: Parser,
  resource: DID,
  input: OfferInput,
  named: NamedTenant = {},
): Promise<Result<Parties>> => {
  const { id } = dependencies
  const { invocation } = input
  const aggregator = await findAggregator(dependencies, ability, resource, input)
  if (aggregator === undefined)
    return {
      error: newNotListed('UnknownAggregator', {
        did: invocation.issuer.did(),
        setting: 'aggregators',
        command: 'w3fil aggregator add',
        self: id,
        invocation,
      }),
    }
  /** The storefront whose delegation the offer carries. */
  const authorizing = resource === id.did() || resource === aggregator ? undefined : resource
  const facts = [{ ...named }, ...(invocation.facts as Record<string, unknown>[])]
  const tenant = readTenant(facts, named.storefront ?? authorizing ?? aggregator)
  const problem =
    authorizing === undefined
      ? await checkNamed(dependencies, aggregator, tenant)
      : await checkAuthorizing(dependencies, aggregator, authorizing, tenant)
  return problem ? { error: problem } : { ok: { aggregator, tenant } }
}

/** Returns the aggregator that makes an offer; `undefined` if the dealer does not know it. */
const findAggregator = async (
  { id, authority, aggregators }: PartyDependencies,
  ability: Parser,
  resource: DID,
  input: OfferInput,
): Promise<DID | undefined> => {
  const isListed = async (did: DID) => (await aggregators.find(did)) !== undefined
  const issuer = input.invocation.issuer.did()
  if (resource === id.did() || (resource !== issuer && (await isListed(issuer)))) return issuer
  if (await isListed(resource)) return resource
  return (await firstDelegated({ id, authority }, ability, input, [id.did()])) && issuer
}

/** Returns the reason why an aggregator must not name a tenant itself; `undefined` if it may. */
const checkNamed = async (
  { allowedTenants }: PartyDependencies,
  aggregator: DID,
  { storefront }: TenantFields,
) => {
  const allowed = await allowedTenants.find(aggregator)
  if (mayName(aggregator, storefront, allowed)) return undefined
  return newTenantNotListed(
    storefront,
    `${aggregator} may not name ${storefront} as the tenant of an aggregate. At the dealer, add it to \`tenants\` of this aggregator in \`aggregators\`${allowed ? '' : ', which does not list the aggregator'}, or with \`w3fil aggregator add --tenant\`. Or offer with ${storefront} and its delegation, and add it to \`storefronts\` or with \`w3fil storefront add --at dealer\``,
  )
}

/** Returns the reason why a storefront must not have deals made by its delegation; `undefined` if it may. */
const checkAuthorizing = async (
  { allowedTenants, storefronts }: PartyDependencies,
  aggregator: DID,
  authorizing: DID,
  { storefront }: TenantFields,
) => {
  if (storefront !== authorizing)
    return failure(
      'TenantMismatch',
      `${authorizing} authorizes this offer, but its facts name the storefront ${storefront}. Name ${authorizing} there, or no storefront`,
    )
  if (await storefronts.find(storefront)) return undefined
  if (mayName(aggregator, storefront, await allowedTenants.find(aggregator))) return undefined
  return newTenantNotListed(
    storefront,
    `${storefront} is not a tenant of this dealer. Add it to \`storefronts\` in the dealer's configuration, or with \`w3fil storefront add --at dealer\`; or to \`tenants\` of ${aggregator}`,
  )
}

const newTenantNotListed = (storefront: string, message: string) =>
  failure('TenantNotListed', message, { storefront })
