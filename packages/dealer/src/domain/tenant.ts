import type { DID } from '@ucanto/interface'
import type { AggregateRecord } from './aggregate.ts'

/** The customer of the aggregator that an aggregate is for. */
export type TenantFields = Pick<AggregateRecord, 'storefront' | 'group' | 'label'>

/** The part of a tenant that the arguments of an offer may name. */
export type NamedTenant = { [N in 'storefront' | 'label']?: TenantFields[N] | undefined }

/** The tenants that an aggregator may name without their delegation, beside itself. */
export interface AllowedTenants {
  /** The aggregator. */
  did: DID
  tenants: 'all' | readonly string[]
}

/**
 * Reads the tenant from the facts of an `aggregate/offer`. The group is the default label.
 *
 * @param fallback DID of the default storefront and group: the resource that authorizes the offer
 */
export const readTenant = (facts: readonly Record<string, unknown>[], fallback: string): TenantFields => {
  const readText = (name: string, absent: string): string => {
    const value = facts.map(fact => fact[name]).find(value => typeof value === 'string')
    return (value as string | undefined) ?? absent
  }
  const group = readText('group', fallback)
  return { storefront: readText('storefront', fallback), group, label: readText('label', group) }
}

/** Whether an aggregator may name a storefront as the tenant without its delegation. */
export const mayName = (
  aggregator: DID,
  storefront: string,
  allowed: Pick<AllowedTenants, 'tenants'> | undefined,
): boolean => {
  if (storefront === aggregator) return true
  const { tenants = [] } = allowed ?? {}
  return tenants === 'all' || tenants.includes(storefront)
}
