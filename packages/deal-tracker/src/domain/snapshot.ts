import { isSameDeal, type KnownDeal } from './deal.ts'
import type { Report } from './report.ts'

/** The deals of a source after its last accepted run, by id. Terminated deals are included until their end epoch. */
export interface Snapshot {
  stateEpoch: number
  deals: ReadonlyMap<number, KnownDeal>
}

/** The snapshot before the first run. */
export const EMPTY_SNAPSHOT: Snapshot = { stateEpoch: 0, deals: new Map() }

/** The changes from one snapshot to the next. */
export interface SnapshotDiff {
  /** Deals to write to the table. */
  changes: KnownDeal[]
  /** The deals of the next snapshot. The same object as the previous ones if nothing changed. */
  deals: ReadonlyMap<number, KnownDeal>
}

/** Whether a report lacks a deal that should be live, or lists it for another piece. */
export const isMissing = (known: KnownDeal, { deals, stateEpoch }: Report): boolean =>
  !known.terminated && known.endEpoch > stateEpoch && deals.get(known.id)?.piece !== known.piece

/**
 * Compares a report with the previous snapshot. A deal that the source drops at or after its end leaves the snapshot, and
 * its record stays as it is. A deal that the source drops before its end is marked as terminated, and stays in the
 * snapshot until its end in case the source lists it again.
 *
 * @param at the time of every change, in milliseconds since 1970
 */
export const diffSnapshot = (previous: Snapshot, next: Report, at: number): SnapshotDiff => {
  const changes: KnownDeal[] = []
  const deals = new Map<number, KnownDeal>()
  let dropped = 0
  for (const known of previous.deals.values()) {
    const reported = next.deals.get(known.id)
    if (isMissing(known, next) && !(reported === undefined && next.unreadable.has(known.id))) {
      const terminated: KnownDeal = { ...known, terminated: true, updated: at }
      changes.push(terminated)
      if (reported === undefined) deals.set(known.id, terminated)
    } else if (reported === undefined) {
      if (known.endEpoch > next.stateEpoch) deals.set(known.id, known)
      else dropped += 1
    }
  }
  for (const deal of next.deals.values()) {
    const known = previous.deals.get(deal.id)
    if (known !== undefined && !known.terminated && isSameDeal(known, deal)) {
      deals.set(deal.id, known)
      continue
    }
    const created = known?.piece === deal.piece ? known.created : at
    const changed: KnownDeal = { ...deal, created, updated: at }
    changes.push(changed)
    deals.set(deal.id, changed)
  }
  return { changes, deals: changes.length === 0 && dropped === 0 ? previous.deals : deals }
}

/**
 * A deal in the block of a snapshot, which is an array of these in DAG-CBOR.
 *
 * @example `[81234567, 'baga6ea4seaqao7s…/35', 20378, 6012345, 1733306400000, 1733306400000, false]`
 */
export type SnapshotRow = [
  id: number,
  piece: string,
  provider: number,
  endEpoch: number,
  created: number,
  updated: number,
  terminated: boolean,
]

/** Sorts the deals by id, so that equal deals make equal blocks. */
export const toRows = (deals: Snapshot['deals']): SnapshotRow[] =>
  [...deals.values()]
    .sort((a, b) => a.id - b.id)
    .map(({ id, piece, provider, endEpoch, created, updated, terminated }) => [
      id,
      piece,
      provider,
      endEpoch,
      created,
      updated,
      terminated ?? false,
    ])

/** Reverses {@link toRows}. */
export const fromRows = (rows: readonly SnapshotRow[]): Snapshot['deals'] =>
  new Map(
    rows.map(([id, piece, provider, endEpoch, created, updated, terminated]): [number, KnownDeal] => [
      id,
      { id, piece, provider, endEpoch, created, updated, ...(terminated ? { terminated } : {}) },
    ]),
  )
