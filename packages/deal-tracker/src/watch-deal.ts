import { type Failure, failure, type Result } from '@w3filecoin/capabilities'
import type { Dependencies } from './dependencies.ts'
import { isWatched, MAX_WATCHED, toWatchRecord, type Watched } from './domain/watch.ts'

/** Rows that one query reads. */
const PAGE_ROWS = 1000

interface WatchDependencies {
  stores: Pick<Dependencies['stores'], 'watch'>
  now: Dependencies['now']
}

/**
 * Has a source search a deal of the built-in market. Repeating it changes nothing, until the search is over.
 *
 * @returns the error `TooManyDeals` if the source searches too many deals already
 */
export const watchDeal = async (
  { stores: { watch }, now }: WatchDependencies,
  source: string,
  dealID: number,
): Promise<Result<object, Failure>> => {
  const record = toWatchRecord(source, dealID, now())
  const existing = await watch.get({ source, deal: record.deal })
  if (existing && isWatched(existing, now())) return { ok: {} }
  const { dealIDs } = await listWatched({ stores: { watch }, now }, source)
  if (dealIDs.length >= MAX_WATCHED)
    return {
      error: failure(
        'TooManyDeals',
        `The source ${source} searches ${MAX_WATCHED} deals already, and no more at a time. Report the deal ${dealID} again later.`,
      ),
    }
  // A conflict is another report of the same deal.
  if (existing) await watch.replace({ ...record, revision: existing.revision })
  else await watch.insert(record)
  return { ok: {} }
}

/** Returns the deals that a source must search. */
export const listWatched = async (
  { stores: { watch }, now }: WatchDependencies,
  source: string,
): Promise<Watched> => {
  const dealIDs: number[] = []
  let after: string | undefined
  do {
    const page = await watch.list(source, { limit: PAGE_ROWS, after })
    dealIDs.push(...page.items.filter(row => isWatched(row, now())).map(({ deal }) => Number(deal)))
    after = page.next
  } while (after !== undefined && dealIDs.length <= MAX_WATCHED)
  return { dealIDs: dealIDs.slice(0, MAX_WATCHED), refused: dealIDs.length > MAX_WATCHED ? 1 : 0 }
}
