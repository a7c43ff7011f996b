import type { Invocation, Signer } from '@ucanto/interface'
import { type Failure, failure } from '@w3filecoin/capabilities'

/**
 * Returns the failure of a principal that the service does not list. The message names the ways to be accepted: the
 * setting of the service, the command that lists a principal without a deploy, and the delegation.
 *
 * @param options `did` is the principal, `setting` the list in the configuration of the service, `command` the command that
 *   adds to this list
 * @example
 * const command = 'w3fil storefront add'
 * newNotListed('UnknownStorefront', { did: 'did:key:z6Mk…', setting: 'storefronts', command, self, invocation })
 */
export const newNotListed = (
  name: string,
  {
    did,
    setting,
    command,
    self,
    invocation,
  }: {
    did: string
    setting: string
    command: string
    self: Pick<Signer, 'did'>
    invocation: Pick<Invocation, 'issuer' | 'capabilities'>
  },
): Failure => {
  const service = self.did()
  const { can } = invocation.capabilities[0]
  return failure(
    name,
    `${did} is not in the setting ${setting} of ${service}, nor in its table of peers. Ask its operator to list it, with \`${command} ${did}\`; or to delegate ${can} with ${service} to the audience ${invocation.issuer.did()}, and then invoke with ${service} and this delegation in the proofs.`,
  )
}
