import type { Stored } from '@w3filecoin/runtime'
import { update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import type { AggregateRecord } from '../domain/aggregate.ts'
import { newWhole, refill, type WholeRecord } from '../domain/whole.ts'

type WholeDependencies = Pick<Dependencies, 'stores' | 'queues' | 'wholes' | 'timing' | 'now'>

/** Returns the record of the whole of an aggregate. Begins to fill it, if it does not exist or is gone. */
export const beginWhole = async (
  dependencies: WholeDependencies,
  { aggregate, piecesCid, storefront }: Pick<AggregateRecord, 'aggregate' | 'piecesCid' | 'storefront'>,
): Promise<Stored<WholeRecord>> => {
  const { stores, queues, wholes, timing, now } = dependencies
  const known = await stores.whole.get({ id: aggregate })
  if (known?.stage === 'gone') return restartWhole(dependencies, known)
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
 * @param storefront the one that serves the pieces from now on, because the one before served wrong bytes; default: no change
 */
export const restartWhole = async (
  { stores, queues, wholes, timing, now }: WholeDependencies,
  before: WholeRecord,
  storefront?: string,
): Promise<Stored<WholeRecord>> => {
  const { id: aggregate } = before
  const upload = await wholes.begin(aggregate)
  const { record, changed } = await update(stores.whole, { id: aggregate }, current =>
    refill(current, { upload, before, storefront }, now(), timing.retryMs),
  )
  if (changed) await queues.fill.send([{ aggregate }])
  else await wholes.abort({ aggregate, upload })
  return record as Stored<WholeRecord>
}
