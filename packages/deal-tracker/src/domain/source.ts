import type { Stored } from '@w3filecoin/runtime'

/**
 * A source and the result of its last accepted run.
 *
 * @example `{ name: 'spade', stateEpoch: 4500000, snapshotCid: 'bafy…', changesCid: 'bafy…', rangesToWrite: [1],
 * deals: 41027, malformed: 0, changed: 1213, syncedAt: 1733306400000 }`: of 1,213 changed deals, which are two ranges, the
 * second range is not written yet.
 */
export interface SourceRecord {
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
  /** Deals that the run changed. */
  changed: number
  /** Time of the last run that changed this record, in milliseconds since 1970. Strictly later in each run. */
  syncedAt: number
}

/** Whether a range of a run still has to be written. */
export const isOpen = (
  record: SourceRecord,
  { changes, range }: { changes: string; range: number },
): boolean => record.changesCid === changes && record.rangesToWrite.includes(range)

/** Builds an `update` message for each open range. */
export const toUpdateMessages = ({ name, changesCid, rangesToWrite }: SourceRecord) =>
  changesCid === undefined ? [] : rangesToWrite.map(range => ({ source: name, changes: changesCid, range }))

/** Marks a range as written. Returns `undefined` if it was already closed, or if it is of an earlier run. */
export const closeRange = (
  record: Stored<SourceRecord>,
  written: { changes: string; range: number },
): Stored<SourceRecord> | undefined =>
  isOpen(record, written)
    ? { ...record, rangesToWrite: record.rangesToWrite.filter(open => open !== written.range) }
    : undefined
