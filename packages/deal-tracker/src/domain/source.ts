import type { Stored } from '@w3filecoin/runtime'

/** A source, and what its last good run brought. */
export interface SourceRecord {
  name: string
  /** The epoch that the last good run told of. */
  stateEpoch: number
  /** CID of the block with its deals. */
  snapshotCid: string
  /** CID of the block that lists the ranges of what the run changed. Absent if nothing changed. */
  changesCid?: string | undefined
  /** Ranges that are still to be written. The next run waits for them. */
  rangesToWrite: number[]
  deals: number
  malformed: number
  changed: number
  /** When the last good run that brought something new was, in milliseconds since 1970. Later for each. */
  syncedAt: number
}

export const isOpen = (
  record: SourceRecord,
  { changes, range }: { changes: string; range: number },
): boolean => record.changesCid === changes && record.rangesToWrite.includes(range)

/** The messages that have the open ranges of a source written. */
export const updateMessages = ({ name, changesCid, rangesToWrite }: SourceRecord) =>
  changesCid === undefined ? [] : rangesToWrite.map(range => ({ source: name, changes: changesCid, range }))

export const closeRange = (
  record: Stored<SourceRecord>,
  written: { changes: string; range: number },
): Stored<SourceRecord> | undefined =>
  isOpen(record, written)
    ? { ...record, rangesToWrite: record.rangesToWrite.filter(open => open !== written.range) }
    : undefined
