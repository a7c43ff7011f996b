import { failure, type Result } from '@w3filecoin/capabilities'
import type { Dependencies } from '../dependencies.ts'
import { findExcess, type QuotaRecord, quotaExpiry, quotaKey, type Space } from '../domain/quota.ts'

/**
 * Counts a workflow that a space starts, if the space may start it. Call it before the workflow is recorded: a run that is
 * killed in between counts one too many.
 *
 * Fails with `SpaceNotListed` or `TooManyOffers`.
 */
export const admitOffer = async (
  { id, stores, admission, now }: Pick<Dependencies, 'id' | 'stores' | 'admission' | 'now'>,
  space: Space,
  nonce: string | undefined,
): Promise<Result<object>> => {
  if (admission.spaces === 'listed' && space.provider === undefined)
    return {
      error: failure(
        'SpaceNotListed',
        `${space.did} has no provider at ${id.did()}, whose setting spaces is "listed". Ask its operator to add the space with a provider to the table space, or to set spaces to "open".`,
        { space: space.did },
      ),
    }
  const time = now()
  const key = quotaKey(space, time)
  const added = { offers: 1, nonces: nonce === undefined ? 0 : 1 }
  const check = (counted: Pick<QuotaRecord, 'offers' | 'nonces'>) =>
    findExcess(counted, space, nonce !== undefined, admission, time)
  // A refused offer is not counted, and causes no write.
  const { offers = 0, nonces = 0 } = (await stores.quota.get(key)) ?? {}
  const excess =
    check({ offers: offers + added.offers, nonces: nonces + added.nonces }) ??
    check(await stores.quota.add(key, added, { expiresAt: quotaExpiry(time) }))
  return excess ? { error: excess } : { ok: {} }
}
