import type { DID, Invocation } from '@ucanto/interface'
import { type Failure, failure, type Result } from '@w3filecoin/capabilities'
import type { Peer, Peers } from '@w3filecoin/runtime'

/**
 * The storefront that an invocation is from. With the aggregator's own DID it holds a delegation, which has been checked;
 * with its own it must be listed.
 */
export const storefrontOf = async (
  resource: DID,
  invocation: Pick<Invocation, 'issuer'>,
  { self, listed }: { self: DID; listed: Peers<Peer> },
): Promise<Result<DID, Failure>> => {
  if (resource === self) return { ok: invocation.issuer.did() }
  if (await listed.find(resource)) return { ok: resource }
  return { error: failure('UnknownStorefront', `${resource} is no storefront of this aggregator`) }
}
