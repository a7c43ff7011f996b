import {
  batchesOf,
  type Finding,
  getValue,
  putValue,
  recordFinding,
  type Stored,
  sendAll,
} from '@w3filecoin/runtime'
import pMap from 'p-map'
import { findingOf, findingOfFailure, runOf } from './checks.ts'
import type { Dependencies, Source } from './dependencies.ts'
import { toDealRecord } from './domain/deal.ts'
import { checkReport } from './domain/report-check.ts'
import { diffSnapshot, EMPTY_SNAPSHOT, fromRows, type Snapshot, toRows } from './domain/snapshot.ts'
import { isComplete, recordGoodRun, type SourceRecord } from './domain/source.ts'
import { resources } from './resources.ts'
import { unfinished } from './unfinished.ts'
import { listWatched } from './watch-deal.ts'

type SyncDependencies = Pick<
  Dependencies,
  'stores' | 'queues' | 'sources' | 'limits' | 'batching' | 'now' | 'log' | 'metrics'
>

/** The greatest number of blocks that are written in parallel. */
const MAX_PARALLEL_WRITES = 4

const EVERY_MS = resources.schedules.sync.everySeconds * 1000

/**
 * Reads every source, and sends messages to write the changes. If a source cannot be read, or its report is refused, the
 * run goes on with the other sources and throws at the end, which raises an alarm. Each run begins with another source, so
 * that a source whose report ends the process does not keep the tracker from reading the other sources.
 */
export const syncSources = (dependencies: SyncDependencies) => async (): Promise<void> => {
  const { sources, now } = dependencies
  const first = Math.floor(now() / EVERY_MS) % sources.length
  const failed: string[] = []
  for (const source of [...sources.slice(first), ...sources.slice(0, first)]) {
    let finding: Finding | undefined
    try {
      finding = await syncSource(dependencies, source)
    } catch (cause) {
      dependencies.log('error', 'source not synced', { source: source.name, url: source.url, cause })
      failed.push(`${source.name} (${(cause as Error).message})`)
      finding = findingOfFailure(source.name, cause as Error)
    }
    if (finding) await recordRun(dependencies, source, finding)
  }
  if (failed.length > 0) throw new Error(`Failed to sync sources: ${failed.join(', ')}`)
}

/** Records the result of a run where the checks of the tracker have theirs. If that fails, the other sources are still read. */
const recordRun = async (
  { stores, now, log }: SyncDependencies,
  { name }: Source,
  finding: Finding,
): Promise<void> => {
  const { service } = resources
  const check = runOf(name)
  try {
    const previous = await stores.health.get({ service, name: check.name })
    await recordFinding({ service, table: stores.health, now, log }, check, finding, previous)
  } catch (cause) {
    log('error', 'finding not recorded', { source: name, cause })
  }
}

/**
 * Runs one source. One conditional write on the source's record commits the run: the record names the blocks of the
 * snapshot and of the changes. The consumer then writes the changes. If its messages are lost, the next run sends them
 * again. Returns its finding; `undefined` if the source was not read.
 */
const syncSource = async (dependencies: SyncDependencies, source: Source): Promise<Finding | undefined> => {
  const { stores, queues, limits, batching, now, log } = dependencies
  const { name } = source
  const record = await stores.source.get({ name })
  measureSource(dependencies, name, record)
  if (record && record.rangesToWrite.length > 0) {
    // Runs must be written in order: this run only sends the open ranges of the previous one again.
    await sendAll(queues, unfinished.source.messages([record]))
    log('info', 'source still being written', {
      source: name,
      url: source.url,
      ranges: record.rangesToWrite.length,
    })
    return undefined
  }

  const previous = await readSnapshot(stores, record)
  const next = await source.read(previous, await listWatched(dependencies, name))
  const at = now()
  const refusal = checkReport(previous, next, limits, at)
  if (refusal) throw Object.assign(new Error(refusal.message), { name: refusal.name })
  const { stateEpoch, malformed, refused } = next
  if (!isComplete(next))
    log('warn', 'report incomplete, so it does not show that a deal does not exist', {
      source: name,
      url: source.url,
      malformed,
      refused,
    })

  const { changes, deals } = diffSnapshot(previous, next, at)
  const ranges = batchesOf(changes, batching.rangeDeals)
  const counts = { deals: deals.size, malformed, refused, changed: changes.length }
  const run: SourceRecord = {
    name,
    stateEpoch,
    snapshotCid:
      record && deals === previous.deals ? record.snapshotCid : await putValue(stores.blocks, toRows(deals)),
    rangesToWrite: [...ranges.keys()],
    ...counts,
    syncedAt: at,
    ...(record?.good ? { good: record.good } : {}),
    entered: record?.entered,
  }
  /** The revision that the source's record has if this run is committed. */
  const revision = (record?.revision ?? 0) + 1
  if (changes.length > 0) {
    const links = await pMap(
      ranges,
      range =>
        putValue(
          stores.blocks,
          range.map(deal => toDealRecord(name, deal, revision)),
        ),
      { concurrency: MAX_PARALLEL_WRITES },
    )
    run.changesCid = await putValue(stores.blocks, links)
  }

  const decided = record
    ? await stores.source.replace({ ...recordGoodRun(run), revision: record.revision })
    : await stores.source.insert(recordGoodRun(run))
  if (decided.error) {
    log('info', 'source synced by another run', { source: name })
    return undefined
  }
  await sendAll(queues, unfinished.source.messages([decided.ok]))
  log('info', 'source synced', { source: name, stateEpoch, ...counts })
  return findingOf(run)
}

/** Records the age and the epoch of the last good run before this one. Before the first good run there are none. */
const measureSource = (
  { now, metrics }: Pick<Dependencies, 'now' | 'metrics'>,
  name: string,
  record: SourceRecord | undefined,
): void => {
  if (record?.good === undefined) return
  const { at, epoch } = record.good
  metrics({ SourceAgeSeconds: Math.max(0, now() - at) / 1000, SourceEpoch: epoch }, { source: name })
}

/**
 * Reads the snapshot of the last accepted run, and writes it again: the bucket deletes blocks that were not written for
 * `keepDays`, and a source may fail, or not change, for longer.
 */
const readSnapshot = async (
  stores: Dependencies['stores'],
  record: Stored<SourceRecord> | undefined,
): Promise<Snapshot> => {
  if (record === undefined) return EMPTY_SNAPSHOT
  const rows = await getValue<Parameters<typeof fromRows>[0]>(stores.blocks, record.snapshotCid)
  await putValue(stores.blocks, rows)
  const { stateEpoch, refused = 0 } = record
  return { stateEpoch, deals: fromRows(rows), refused }
}
