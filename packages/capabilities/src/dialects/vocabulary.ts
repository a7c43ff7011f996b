import type { Fact } from '@ucanto/interface'

/**
 * The older vocabularies of the protocol. Its authors published five documents; each describes the same pipeline with other
 * abilities:
 *
 * - `draft-1`: `piece/add`, `piece/offer` with a provider, `aggregate/arrange`, `offer/arrange`
 * - `draft-2`: `filecoin/add`, `aggregate/add`, `deal/add`, `chain-tracker/info`
 * - `draft-3`: `filecoin/queue`, `aggregate/queue`, `deal/queue`, `dealtracker/info`
 * - `capability-section`: the section "Capabilities" of the protocol itself, which names two roles otherwise than its
 *   schemas do: `aggregate/offer` for the aggregator, `deal/offer` for the dealer
 */
export const DIALECTS = ['draft-1', 'draft-2', 'draft-3', 'capability-section'] as const
export type Dialect = (typeof DIALECTS)[number]

/** The protocol, or one of its dialects. */
export const VOCABULARIES = ['protocol', ...DIALECTS] as const
export type Vocabulary = (typeof VOCABULARIES)[number]

/**
 * Distinguishes the task that a service promises for an offer of its own from the offer: in draft 2 both have the same ability
 * and arguments.
 */
export const OWN_OFFER: Fact = { offered: true }

/**
 * Returns the DID of a tenant, which draft 2 also writes without its method.
 *
 * @example toTenantDid('web3.storage') // 'did:web:web3.storage'
 */
export const toTenantDid = (tenant: string): string =>
  tenant.startsWith('did:') ? tenant : `did:web:${tenant}`
