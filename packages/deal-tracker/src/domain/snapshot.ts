import { type DealIdentity, hasEnded, identify, isEndless, isSameDeal, type KnownDeal } from './deal.ts'
import type { Report } from './report.ts'

/**
 * The deals of a source after its last accepted run, by their identity. Terminated deals are included until their end
 * epoch.
 */
export interface Snapshot {
  stateEpoch: number
  deals: ReadonlyMap<DealIdentity, KnownDeal>
}

/** The snapshot before the first run. */
export const EMPTY_SNAPSHOT: Snapshot = { stateEpoch: 0, deals: new Map() }

/** The changes from one snapshot to the next. */
export interface SnapshotDiff {
  /** Deals to write to the table. */
  changes: KnownDeal[]
  /** The deals of the next snapshot. The same object as the previous ones if nothing changed. */
  deals: Snapshot['deals']
}

/** Whether a report lacks a deal that should be live, or lists it for another piece. */
export const isMissing = (known: KnownDeal, { deals, stateEpoch }: Report): boolean =>
  !known.terminated && !hasEnded(known, stateEpoch) && deals.get(identify(known))?.piece !== known.piece

/**
 * Compares a report with the previous snapshot. A deal that the source drops at or after its end leaves the snapshot, and
 * its record stays as it is. A deal that the source drops before its end is marked as terminated, and stays in the
 * snapshot until its end in case the source lists it again. A place without an end does not stay: it is new if the
 * source lists it again.
 *
 * @param at the time of every change, in milliseconds since 1970
 */
export const diffSnapshot = (previous: Snapshot, next: Report, at: number): SnapshotDiff => {
  const changes: KnownDeal[] = []
  const deals = new Map<DealIdentity, KnownDeal>()
  let dropped = 0
  for (const [identity, known] of previous.deals) {
    const reported = next.deals.get(identity)
    if (isMissing(known, next) && !(reported === undefined && next.unreadable.has(known.id))) {
      const terminated: KnownDeal = { ...known, terminated: true, updated: at }
      changes.push(terminated)
      if (reported === undefined && !isEndless(terminated)) deals.set(identity, terminated)
    } else if (reported === undefined) {
      if (hasEnded(known, next.stateEpoch)) dropped += 1
      else deals.set(identity, known)
    }
  }
  for (const [identity, deal] of next.deals) {
    const known = previous.deals.get(identity)
    if (known !== undefined && !known.terminated && isSameDeal(known, deal)) {
      deals.set(identity, known)
      continue
    }
    const changed: KnownDeal = {
      ...deal,
      ...(known?.piece === deal.piece
        ? { created: known.created, ...(known.seenEpoch === undefined ? {} : { seenEpoch: known.seenEpoch }) }
        : { created: at, seenEpoch: next.stateEpoch }),
      updated: at,
    }
    changes.push(changed)
    deals.set(identity, changed)
  }
  return { changes, deals: changes.length === 0 && dropped === 0 ? previous.deals : deals }
}

/**
 * A deal in the block of a snapshot, which is an array of these in DAG-CBOR. Rows of earlier code end after `terminated`
 * or after `client`.
 *
 * @example `[81234567, 'baga6ea4seaqao7s…/35', 20378, 6012345, 1733306400000, 1733306400000, false, 4500000,
 * 'bafkzci…/kD3wbPzc….json', null, 'bafybei…', 4499000]`
 */
export type SnapshotRow = [
  id: number,
  piece: string,
  provider: number,
  endEpoch: number,
  created: number,
  updated: number,
  terminated: boolean,
  seenEpoch?: number | null,
  label?: string | null,
  client?: string | null,
  dataCid?: string | null,
  activationEpoch?: number | null,
]

/** Sorts the deals by id, and places by piece and provider, so that equal deals make equal blocks. */
export const toRows = (deals: Snapshot['deals']): SnapshotRow[] =>
  [...deals.values()]
    .sort((a, b) => a.id - b.id || compareText(a.piece, b.piece) || a.provider - b.provider)
    .map(deal => [
      deal.id,
      deal.piece,
      deal.provider,
      deal.endEpoch,
      deal.created,
      deal.updated,
      deal.terminated ?? false,
      deal.seenEpoch ?? null,
      deal.label ?? null,
      deal.client ?? null,
      deal.dataCid ?? null,
      deal.activationEpoch ?? null,
    ])

const compareText = (a: string, b: string): number => Number(a > b) - Number(a < b)

/**
 * Reverses {@link toRows}. Earlier code kept one place, as the deal 0. Its row is skipped: the next report lists the place
 * again, as a place.
 */
export const fromRows = (rows: readonly SnapshotRow[]): Snapshot['deals'] => {
  const deals = new Map<DealIdentity, KnownDeal>()
  for (const row of rows) {
    const [id, piece, provider, endEpoch, created, updated, terminated, seenEpoch, ...optional] = row
    const [label, client, dataCid, activationEpoch] = optional
    if (id === 0 && seenEpoch === undefined) continue
    const deal: KnownDeal = { id, piece, provider, endEpoch, created, updated }
    if (terminated) deal.terminated = true
    if (seenEpoch != null) deal.seenEpoch = seenEpoch
    if (label != null) deal.label = label
    if (client != null) deal.client = client
    if (dataCid != null) deal.dataCid = dataCid
    if (activationEpoch != null) deal.activationEpoch = activationEpoch
    deals.set(identify(deal), deal)
  }
  return deals
}
