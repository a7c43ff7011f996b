import type { DID, Invocation, Signer } from '@ucanto/interface'
import { type Failure, failure } from '@w3filecoin/capabilities'
import type { Peers } from './peers.ts'

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

/**
 * Returns the failure of an invocation, which the server has verified, if its resource is neither the service nor a principal that it
 * lists; `undefined` if the issuer may invoke. With the service as the resource, the issuer has its delegation.
 *
 * @param name name of the failure
 * @param options.listed the principals of the setting
 * @example
 * await refuseStranger('UnknownBroker', input, { self, listed: brokers, setting: 'brokers', command: 'w3fil broker add' })
 */
export const refuseStranger = async (
  name: string,
  {
    capability: { with: did },
    invocation,
  }: { capability: { with: DID }; invocation: Pick<Invocation, 'issuer' | 'capabilities'> },
  {
    self,
    listed,
    ...list
  }: {
    self: Pick<Signer, 'did'>
    listed: Pick<Peers<{ did: DID }>, 'find'>
    setting: string
    command: string
  },
): Promise<Failure | undefined> =>
  did === self.did() || (await listed.find(did))
    ? undefined
    : newNotListed(name, { did, ...list, self, invocation })
