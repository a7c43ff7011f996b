import type { KnownDeal } from './deal.ts'
import { isSame, type Report } from './report.ts'

/** What the last good run of a source left: its deals by their ids, those that it lost among them. */
export interface Snapshot {
  stateEpoch: number
  deals: ReadonlyMap<number, KnownDeal>
}

export const EMPTY: Snapshot = { stateEpoch: 0, deals: new Map() }

export interface Difference {
  /** Deals that are to be written. */
  changes: KnownDeal[]
  /** What the snapshot is from now on; the previous one itself, if it is the same. */
  deals: ReadonlyMap<number, KnownDeal>
}

/** Whether a deal that was there is missing in a report that it should be in. */
export const isMissing = (known: KnownDeal, { deals, stateEpoch }: Report): boolean =>
  !known.terminated && known.endEpoch > stateEpoch && deals.get(known.id)?.piece !== known.piece

/**
 * What a report changes. Deals that came to their end leave the snapshot when the source drops them, and keep their
 * record; deals that it drops earlier are terminated, and stay in the snapshot until their end, should they come
 * back.
 * @param at becomes the time of every change
 */
export const difference = (previous: Snapshot, next: Report, at: number): Difference => {
  const changes: KnownDeal[] = []
  const deals = new Map<number, KnownDeal>()
  let dropped = 0
  for (const known of previous.deals.values()) {
    const there = next.deals.get(known.id)
    if (isMissing(known, next) && !(there === undefined && next.unreadable.has(known.id))) {
      const terminated: KnownDeal = { ...known, terminated: true, updated: at }
      changes.push(terminated)
      if (there === undefined) deals.set(known.id, terminated)
    } else if (there === undefined) {
      if (known.endEpoch > next.stateEpoch) deals.set(known.id, known)
      else dropped += 1
    }
  }
  for (const deal of next.deals.values()) {
    const known = previous.deals.get(deal.id)
    if (known !== undefined && !known.terminated && isSame(known, deal)) {
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

/** A deal as a snapshot's block holds it. */
export type SnapshotRow = [
  id: number,
  piece: string,
  provider: number,
  endEpoch: number,
  created: number,
  updated: number,
  terminated: boolean,
]

/** In the order of their ids: the same deals make the same block. */
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

export const fromRows = (rows: readonly SnapshotRow[]): Snapshot['deals'] =>
  new Map(
    rows.map(([id, piece, provider, endEpoch, created, updated, terminated]): [number, KnownDeal] => [
      id,
      { id, piece, provider, endEpoch, created, updated, ...(terminated ? { terminated } : {}) },
    ]),
  )
