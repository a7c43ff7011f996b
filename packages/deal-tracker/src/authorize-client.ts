import type { DID, Invocation } from '@ucanto/interface'
import type { Failure } from '@w3filecoin/capabilities'
import { newNotListed } from '@w3filecoin/runtime'
import type { Dependencies } from './dependencies.ts'

/**
 * Returns the failure `UnknownClient` of an invocation that the server has verified, if its resource is neither the tracker nor one of
 * its clients; `undefined` if the issuer may invoke. With the tracker as the resource, the issuer has its delegation.
 */
export const refuseStranger = async (
  { id, clients }: Pick<Dependencies, 'id' | 'clients'>,
  { capability, invocation }: { capability: { with: DID }; invocation: Invocation },
): Promise<Failure | undefined> => {
  const { with: did } = capability
  if (did === id.did() || (await clients.find(did))) return undefined
  return newNotListed('UnknownClient', {
    did,
    setting: 'clients',
    command: 'w3fil client add',
    self: id,
    invocation,
  })
}
