import type { DID, Invocation } from '@ucanto/interface'
import { type Failure, failure, type Result } from '@w3filecoin/capabilities'

/**
 * Returns the storefront that an invocation is from. If the resource is the aggregator's DID, the issuer holds a
 * delegation, which the server has verified. If it is another DID, that DID must be listed.
 */
export const identifyStorefront = (
  resource: DID,
  invocation: Pick<Invocation, 'issuer'>,
  { self, listed }: { self: DID; listed: ReadonlyMap<string, unknown> },
): Result<DID, Failure> => {
  if (resource === self) return { ok: invocation.issuer.did() }
  if (listed.has(resource)) return { ok: resource }
  return {
    error: failure('UnknownStorefront', `${resource} is not a storefront that this aggregator lists`),
  }
}
