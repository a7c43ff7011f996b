import { failure, type Result } from '@w3filecoin/capabilities'
import type { Dependencies } from '../dependencies.ts'
import { findExcess, type Space } from '../domain/quota.ts'
import { countToday } from './count-today.ts'

/**
 * Counts a workflow that a space starts, if the space may start it. Call it before the workflow is recorded: a run that is
 * killed in between counts one too many.
 *
 * Fails with `SpaceNotListed` or `TooManyOffers`.
 */
export const admitOffer = async (
  dependencies: Pick<Dependencies, 'id' | 'stores' | 'admission' | 'now'>,
  space: Space,
  nonce: string | undefined,
): Promise<Result<object>> => {
  const { id, admission } = dependencies
  if (admission.spaces === 'listed' && space.provider === undefined)
    return {
      error: failure(
        'SpaceNotListed',
        `${space.did} has no provider at ${id.did()}, whose setting spaces is "listed". Ask its operator to add the space with a provider to the table space, or to set spaces to "open".`,
        { space: space.did },
      ),
    }
  const hasNonce = nonce !== undefined
  return countToday(dependencies, space, { offers: 1, nonces: hasNonce ? 1 : 0 }, (counts, time) =>
    findExcess(counts, space, hasNonce, admission, time),
  )
}
