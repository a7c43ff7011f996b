import type { Failure, Result } from '@w3filecoin/capabilities'
import type { Dependencies } from '../dependencies.ts'
import { type QuotaRecord, quotaExpiry, quotaKey, type Space } from '../domain/quota.ts'

type Counts = Partial<Omit<QuotaRecord, 'owner' | 'day' | 'expiresAt'>>

/**
 * Adds to the counts of a space for today, unless a bound is exceeded then. Call it before the counted thing is recorded: a run
 * that is killed in between counts one too many. A refusal is not counted, and causes no write, unless a concurrent run took
 * the last place.
 *
 * @param findExcess returns why counts exceed a bound at a time
 * @example await countToday(dependencies, space, { addresses: 1 }, (counts, time) => findAddressExcess(counts, space, admission, time))
 */
export const countToday = async (
  { stores, now }: Pick<Dependencies, 'stores' | 'now'>,
  space: Space,
  added: Counts & Record<string, number>,
  findExcess: (counts: Counts, time: number) => Failure | undefined,
): Promise<Result<object>> => {
  const time = now()
  const key = quotaKey(space, time)
  const counts: Counts = (await stores.quota.get(key)) ?? {}
  const sums = Object.entries(added).map(([name, number]) => [
    name,
    (counts[name as keyof Counts] ?? 0) + number,
  ])
  const excess =
    findExcess(Object.fromEntries(sums), time) ??
    findExcess(await stores.quota.add(key, added, { expiresAt: quotaExpiry(time) }), time)
  return excess ? { error: excess } : { ok: {} }
}
