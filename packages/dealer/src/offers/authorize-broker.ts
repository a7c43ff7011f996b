import type { DID, Invocation } from '@ucanto/interface'
import type { Failure } from '@w3filecoin/capabilities'
import { newNotListed } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'

/**
 * Returns the failure `UnknownBroker` of an invocation that the server has verified, if its resource is neither the dealer nor one of
 * its brokers; `undefined` if the issuer may invoke. With the dealer as the resource, the issuer has its delegation.
 */
export const refuseStranger = async (
  { id, brokers }: Pick<Dependencies, 'id' | 'brokers'>,
  { capability, invocation }: { capability: { with: DID }; invocation: Invocation },
): Promise<Failure | undefined> => {
  const { with: did } = capability
  if (did === id.did() || (await brokers.find(did))) return undefined
  return newNotListed('UnknownBroker', {
    did,
    setting: 'brokers',
    command: 'w3fil broker add',
    self: id,
    invocation,
  })
}
