import type { DID, Invocation, Signer } from '@ucanto/interface'
import type { Failure, Result } from '@w3filecoin/capabilities'
import { newNotListed, type Peer, type Peers } from '@w3filecoin/runtime'

/**
 * Returns the storefront that an invocation is from. If the resource is the aggregator's DID, the issuer holds a
 * delegation, which the server has verified. If it is another DID, that DID must be listed.
 */
export const identifyStorefront = async (
  resource: DID,
  invocation: Pick<Invocation, 'issuer' | 'capabilities'>,
  { self, listed }: { self: Pick<Signer, 'did'>; listed: Peers<Peer> },
): Promise<Result<DID, Failure>> => {
  if (resource === self.did()) return { ok: invocation.issuer.did() }
  if (await listed.find(resource)) return { ok: resource }
  return {
    error: newNotListed('UnknownStorefront', {
      did: resource,
      setting: 'storefronts',
      command: 'w3fil storefront add',
      self,
      invocation,
    }),
  }
}
