import type { DID, Invocation, Signer } from '@ucanto/interface'
import type { Failure, Result } from '@w3filecoin/capabilities'
import { type Peer, type Peers, refuseStranger } from '@w3filecoin/runtime'

/**
 * Returns the storefront that an invocation is from. If the resource is the aggregator's DID, the issuer holds a
 * delegation, which the server has verified. If it is another DID, that DID must be listed.
 */
export const identifyStorefront = async (
  resource: DID,
  invocation: Pick<Invocation, 'issuer' | 'capabilities'>,
  { self, listed }: { self: Pick<Signer, 'did'>; listed: Peers<Peer> },
): Promise<Result<DID, Failure>> => {
  const stranger = await refuseStranger(
    'UnknownStorefront',
    { capability: { with: resource }, invocation },
    { self, listed, setting: 'storefronts', command: 'w3fil storefront add' },
  )
  if (stranger) return { error: stranger }
  return { ok: resource === self.did() ? invocation.issuer.did() : resource }
}
