import type { DID, Invocation } from '@ucanto/interface'
import { type Failure, failure, type Result } from '@w3filecoin/capabilities'
import type { Peer, Peers } from '@w3filecoin/runtime'

/**
 * Returns the storefront that an invocation is from. If the resource is the aggregator's DID, the issuer holds a
 * delegation, which the server has verified. If it is another DID, that DID must be listed.
 */
export const identifyStorefront = async (
  resource: DID,
  invocation: Pick<Invocation, 'issuer'>,
  { self, listed }: { self: DID; listed: Peers<Peer> },
): Promise<Result<DID, Failure>> => {
  if (resource === self) return { ok: invocation.issuer.did() }
  if (await listed.find(resource)) return { ok: resource }
  return {
    error: failure('UnknownStorefront', `${resource} is not a storefront that this aggregator lists`),
  }
}
