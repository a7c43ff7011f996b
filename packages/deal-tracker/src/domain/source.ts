import type { SourceState } from '@w3filecoin/capabilities'
import type { Entered, Stored } from '@w3filecoin/runtime'
import { isAhead } from './epoch.ts'

/**
 * A source and the result of its last accepted run.
 *
 * @example `{ name: 'spade', stateEpoch: 4500000, snapshotCid: 'bafy…', changesCid: 'bafy…', rangesToWrite: [1],
 * deals: 41027, malformed: 0, refused: 0, changed: 1213, syncedAt: 1733306400000, good: { at: 1733305500000,
 * epoch: 4499970 } }`: of 1,213 changed deals, which are two ranges, the second range is not written yet. So the last
 * good run is the one before.
 */
export interface SourceRecord extends Entered {
  name: string
  /** The epoch of the chain state in the last accepted report. */
  stateEpoch: number
  /** CID of the block with the snapshot: all deals of the source, as `SnapshotRow`s. */
  snapshotCid: string
  /**
   * CID of the block that lists the run's ranges: an array of CIDs, each of a block with an array of `DealRecord`s.
   * Absent if the run changed no deal.
   */
  changesCid?: string | undefined
  /** Indexes of the ranges that are not written to the table yet. The next run starts when none is left. */
  rangesToWrite: number[]
  /** Deals in the snapshot. */
  deals: number
  /** Records and deals that could not be parsed. */
  malformed: number
  /** New deals that were skipped because of `MAX_DEALS`. Absent in records of earlier code. */
  refused?: number
  /** Deals that the run changed. */
  changed: number
  /** Time of the last accepted run, in milliseconds since 1970. Its clock may have been wrong. */
  syncedAt: number
  /** The last good run. Absent in records of earlier code, and before the first good run. */
  good?: GoodRun
}

/**
 * A run whose report was accepted and complete, and whose changes are all written to the table. Only such a run shows that
 * a deal does not exist: a report with malformed or refused records may lack it.
 */
export interface GoodRun {
  /** Its time, in milliseconds since 1970. */
  at: number
  /** The epoch of the chain state in its report. */
  epoch: number
}

/** Adds the last run as a good one, if it is good. */
export const recordGoodRun = <R extends SourceRecord>(record: R): R =>
  record.rangesToWrite.length === 0 && isComplete(record)
    ? { ...record, good: { at: record.syncedAt, epoch: record.stateEpoch } }
    : record

/** Whether a report has everything that its source listed. Earlier code did not count places, so it is not known. */
export const isComplete = ({ malformed, refused }: Pick<SourceRecord, 'malformed' | 'refused'>): boolean =>
  malformed === 0 && refused === 0

/**
 * Returns the last good run of a source as `deal/info` reports it. An epoch ahead of our clock is not reported: the clock
 * of the run that accepted it was wrong.
 */
export const toSourceState = (
  { name, types }: { name: string; types: NonNullable<SourceState['types']> },
  record: SourceRecord | undefined,
  now: number,
): SourceState => {
  const good = record?.good
  return {
    source: name,
    types,
    ...(good !== undefined &&
      !isAhead(good.epoch, now) && { at: new Date(good.at).toISOString(), epoch: good.epoch }),
  }
}

/** Whether a range of a run still has to be written. */
export const isOpen = (
  record: SourceRecord,
  { changes, range }: { changes: string; range: number },
): boolean => record.changesCid === changes && record.rangesToWrite.includes(range)

/** Builds an `update` message for each open range. */
export const toUpdateMessages = ({ name, changesCid, rangesToWrite }: SourceRecord) =>
  changesCid === undefined ? [] : rangesToWrite.map(range => ({ source: name, changes: changesCid, range }))

/**
 * Marks a range as written. With its last range, the run is a good one. Returns `undefined` if the range was already
 * closed, or if it is of an earlier run.
 */
export const closeRange = (
  record: Stored<SourceRecord>,
  written: { changes: string; range: number },
): Stored<SourceRecord> | undefined =>
  isOpen(record, written)
    ? recordGoodRun({ ...record, rangesToWrite: record.rangesToWrite.filter(open => open !== written.range) })
    : undefined
