import type { DID } from '@ucanto/interface'
import { firstDelegated, type Input, type Parser, resourcesIn } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import type { Space } from '../domain/quota.ts'

/** Maximum number of listed spaces whose delegation is checked for one invocation. */
const MAX_CHECKED_SPACES = 2

/**
 * Returns the space that an invocation is for. It is `with`, except if an agent names itself there and proves that it may act
 * for a listed space: published upload clients do this. A proof of an unknown space, or an invalid proof, does not count.
 */
export const findActingSpace = async (
  { id, stores, authority }: Pick<Dependencies, 'id' | 'stores' | 'authority'>,
  capability: Parser,
  input: Pick<Input<unknown>, 'invocation' | 'candidate'>,
): Promise<Space> => {
  const { invocation } = input
  const own = invocation.capabilities[0].with
  const named = own === invocation.issuer.did() ? resourcesIn(invocation) : []
  const [listed, ...others] = await stores.space.getMany([own, ...named].map(space => ({ space })))
  if (listed) return { did: own, provider: listed.provider }
  const known = others.filter(record => record !== undefined).slice(0, MAX_CHECKED_SPACES)
  const delegated = await firstDelegated(
    { id, authority },
    capability,
    input,
    known.map(({ space }) => space as DID),
  )
  const space = known.find(record => record.space === delegated)
  return space ? { did: space.space, provider: space.provider } : { did: own }
}
