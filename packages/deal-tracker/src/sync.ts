import { batchesOf, getValue, putValue, type Stored, sendAll } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies, Source } from './dependencies.ts'
import { dealRecord } from './domain/deal.ts'
import { checkReport } from './domain/report-check.ts'
import { difference, EMPTY, fromRows, type Snapshot, toRows } from './domain/snapshot.ts'
import type { SourceRecord } from './domain/source.ts'
import { unfinished } from './unfinished.ts'

type Parts = Pick<Dependencies, 'stores' | 'queues' | 'sources' | 'limits' | 'batching' | 'now' | 'log'>

/** Blocks that are written at a time. */
const PARALLEL = 4

/**
 * Reads every source, and has what changed written. A source that can not be read, or is not to be believed, does
 * not keep the others; the run ends with an error then, and an alarm watches for that.
 */
export const syncSources = (parts: Parts) => async (): Promise<void> => {
  const failed: string[] = []
  for (const source of parts.sources) {
    try {
      await syncSource(parts, source)
    } catch (cause) {
      parts.log('error', 'source not synced', { source: source.name, cause })
      failed.push(`${source.name} (${(cause as Error).message})`)
    }
  }
  if (failed.length > 0) throw new Error(`Sources were not synced: ${failed.join(', ')}`)
}

/**
 * One run of a source. Its decision is one conditional write on the source's record, which names what changed, as
 * blocks; what follows from it is completed by the consumer, or has the next run send it again.
 */
const syncSource = async (parts: Parts, source: Source): Promise<void> => {
  const { stores, queues, limits, batching, now, log } = parts
  const { name } = source
  const record = await stores.source.get({ name })
  if (record && record.rangesToWrite.length > 0) {
    // Deals are written in the order of the runs.
    await sendAll(queues, unfinished.source.messages([record]))
    log('info', 'source still being written', { source: name, ranges: record.rangesToWrite.length })
    return
  }

  const next = await source.read()
  const previous = await readSnapshot(parts, record)
  const refused = checkReport(previous, next, limits, now())
  if (refused) throw Object.assign(new Error(refused.message), { name: refused.name })
  const { stateEpoch, malformed } = next
  if (malformed > 0) log('warn', 'malformed records skipped', { source: name, malformed })

  const at = Math.max(now(), (record?.syncedAt ?? 0) + 1)
  const { changes, deals } = difference(previous, next, at)
  if (record && deals === previous.deals && stateEpoch === record.stateEpoch) return
  const ranges = batchesOf(changes, batching.rangeDeals)
  const counts = { deals: deals.size, malformed, changed: changes.length }
  const run: SourceRecord = {
    name,
    stateEpoch,
    snapshotCid:
      record && deals === previous.deals ? record.snapshotCid : await putValue(stores.blocks, toRows(deals)),
    rangesToWrite: [...ranges.keys()],
    ...counts,
    syncedAt: at,
  }
  if (changes.length > 0) {
    const links = await pMap(
      ranges,
      range =>
        putValue(
          stores.blocks,
          range.map(deal => dealRecord(name, deal)),
        ),
      { concurrency: PARALLEL },
    )
    run.changesCid = await putValue(stores.blocks, links)
  }

  const decided = record
    ? await stores.source.replace({ ...run, revision: record.revision })
    : await stores.source.insert(run)
  if (decided.error) {
    log('info', 'source synced by another run', { source: name })
    return
  }
  await sendAll(queues, unfinished.source.messages([decided.ok]))
  log('info', 'source synced', { source: name, stateEpoch, ...counts })
}

const readSnapshot = async (
  { stores }: Pick<Parts, 'stores'>,
  record: Stored<SourceRecord> | undefined,
): Promise<Snapshot> =>
  record === undefined
    ? EMPTY
    : { stateEpoch: record.stateEpoch, deals: fromRows(await getValue(stores.blocks, record.snapshotCid)) }
