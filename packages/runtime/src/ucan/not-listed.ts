import type { Invocation, Signer } from '@ucanto/interface'
import { type Failure, failure } from '@w3filecoin/capabilities'

/**
 * Returns the failure of a principal that the service does not list. The message names both ways to be accepted: the
 * setting of the service, and the delegation.
 *
 * @param options `did` is the principal, `setting` the list in the configuration of the service
 * @example newNotListed('UnknownStorefront', { did: 'did:key:z6Mk…', setting: 'storefronts', self, invocation })
 */
export const newNotListed = (
  name: string,
  {
    did,
    setting,
    self,
    invocation,
  }: {
    did: string
    setting: string
    self: Pick<Signer, 'did'>
    invocation: Pick<Invocation, 'issuer' | 'capabilities'>
  },
): Failure => {
  const service = self.did()
  const { can } = invocation.capabilities[0]
  return failure(
    name,
    `${did} is not in the setting ${setting} of ${service}. Ask its operator to add it; or to delegate ${can} with ${service} to the audience ${invocation.issuer.did()}, and then invoke with ${service} and this delegation in the proofs.`,
  )
}
