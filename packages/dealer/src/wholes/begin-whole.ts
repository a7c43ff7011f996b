import type { Stored } from '@w3filecoin/runtime'
import { update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { newWhole, type PieceSource, refill, type WholeRecord } from '../domain/whole.ts'

type WholeDependencies = Pick<Dependencies, 'stores' | 'queues' | 'wholes' | 'timing' | 'now'>

/**
 * Returns the record of the whole of an aggregate. Begins to fill it, if it does not exist or is gone, or if the storefronts that were
 * asked served wrong bytes and that of this offer was not asked: one tenant must not decide about the offers of others.
 */
export const beginWhole = async (
  dependencies: WholeDependencies & Pick<Dependencies, 'pieceSources'>,
  { aggregate, piecesCid, storefront }: PieceSource & { aggregate: string },
): Promise<Stored<WholeRecord>> => {
  const { stores, queues, wholes, pieceSources, timing, now } = dependencies
  const known = await stores.whole.get({ id: aggregate })
  if (known?.stage === 'gone') return restartWhole(dependencies, known)
  if (known?.stage === 'faulty') {
    const { suspects = [], storefront: last } = known
    const isOther = storefront !== last && !suspects.includes(storefront) && pieceSources.has(storefront)
    return isOther ? restartWhole(dependencies, known, { storefront, piecesCid }) : known
  }
  if (known) return known
  const upload = await wholes.begin(aggregate)
  const { ok, error } = await stores.whole.insert(
    newWhole({ id: aggregate, piecesCid, storefront, upload }, now(), timing.retryMs),
  )
  if (error) {
    await wholes.abort({ aggregate, upload })
    return error.record
  }
  await queues.fill.send([{ aggregate }])
  return ok
}

/**
 * Fills a whole again, in another upload.
 *
 * @param source the source of the pieces from now on, because the storefront before served wrong bytes; default: no change
 */
export const restartWhole = async (
  { stores, queues, wholes, timing, now }: WholeDependencies,
  before: WholeRecord,
  source?: PieceSource,
): Promise<Stored<WholeRecord>> => {
  const { id: aggregate } = before
  const upload = await wholes.begin(aggregate)
  const { record, changed } = await update(stores.whole, { id: aggregate }, current =>
    refill(current, { upload, before, source }, now(), timing.retryMs),
  )
  if (changed) await queues.fill.send([{ aggregate }])
  else await wholes.abort({ aggregate, upload })
  return record as Stored<WholeRecord>
}
