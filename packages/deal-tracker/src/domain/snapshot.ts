import {
  type ChainPlace,
  type DealIdentity,
  hasEnded,
  identify,
  isEndless,
  isSameDeal,
  type KnownDeal,
  keyOf,
  parseKey,
} from './deal.ts'
import type { Report } from './report.ts'

/**
 * The deals of a source after its last accepted run, by their identity. Terminated deals are included until their end
 * epoch.
 */
export interface Snapshot {
  stateEpoch: number
  deals: ReadonlyMap<DealIdentity, KnownDeal>
  /** New deals that the run skipped because of a limit. A source that reads only changes adds its own to them. */
  refused?: number
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

/** Why a deal ended whose source knows no more. */
const NOT_LISTED = 'The source does not list it any more'

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
    if (isMissing(known, next) && !(reported === undefined && next.unreadable.has(identity))) {
      const reason = next.ends?.get(identity) ?? NOT_LISTED
      const terminated: KnownDeal = { ...known, terminated: true, reason, updated: at }
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
 * A deal in the block of a snapshot, which is an array of these in DAG-CBOR. `id` is that of a deal, 0 for a provider without a
 * place, and else the key of the place. Rows of earlier code end after `terminated`, after `client` or after `activationEpoch`.
 *
 * @example `[81234567, 'baga6ea4seaqao7s…/35', 20378, 6012345, 1733306400000, 1733306400000, false, 4500000,
 * 'bafkzci…/kD3wbPzc….json', null, 'bafybei…', 4499000, null, null]`
 * @example `['pdp:314/0xbadd…/12/0', 'baga6ea4seaqao7s…/30', 'pdp:3', null, 1733306400000, 1733306400000, false, 4500000, null,
 * null, null, null, 'pending', null]`
 */
export type SnapshotRow = [
  id: number | string,
  piece: string,
  provider: number | string,
  endEpoch: number | null,
  created: number,
  updated: number,
  terminated: boolean,
  seenEpoch?: number | null,
  label?: string | null,
  client?: string | null,
  dataCid?: string | null,
  activationEpoch?: number | null,
  condition?: NonNullable<KnownDeal['condition']> | null,
  provenEpoch?: number | null,
]

/** Sorts the deals by id, and places by their key and piece, so that equal deals make equal blocks. */
export const toRows = (deals: Snapshot['deals']): SnapshotRow[] =>
  [...deals]
    .sort(([a], [b]) => compareIdentity(a, b))
    .map(([, deal]) => [
      toId(deal.place),
      deal.piece,
      toNumber(deal.provider) ?? deal.provider,
      deal.endEpoch ?? null,
      deal.created,
      deal.updated,
      deal.terminated ?? false,
      deal.seenEpoch ?? null,
      deal.label ?? null,
      deal.client ?? null,
      deal.dataCid ?? null,
      deal.activationEpoch ?? null,
      deal.condition ?? null,
      deal.provenEpoch ?? null,
    ])

const compareIdentity = (a: DealIdentity, b: DealIdentity): number => {
  if (typeof a === 'number' && typeof b === 'number') return a - b
  return typeof a === typeof b ? Number(a > b) - Number(a < b) : typeof a === 'number' ? -1 : 1
}

const toId = (place: ChainPlace): number | string => {
  switch (place.type) {
    case 'market':
      return place.dealID
    case 'provider':
      return 0
    case 'sector':
    case 'pdp':
      return keyOf(place)
  }
}

/** @example toNumber('f020378') // 20378 */
const toNumber = (provider: string): number | undefined => {
  const number = /^f0(0|[1-9]\d*)$/.exec(provider)?.[1]
  return number === undefined ? undefined : Number(number)
}

/**
 * Reverses {@link toRows}. Earlier code kept one place, as the deal 0. Its row is skipped: the next report lists the place
 * again, as a place.
 */
export const fromRows = (rows: readonly SnapshotRow[]): Snapshot['deals'] => {
  const deals = new Map<DealIdentity, KnownDeal>()
  for (const row of rows) {
    const [id, piece, actor, endEpoch, created, updated, terminated, seenEpoch, ...optional] = row
    const [label, client, dataCid, activationEpoch, condition, provenEpoch] = optional
    if (id === 0 && seenEpoch === undefined) continue
    const provider = typeof actor === 'number' ? `f0${actor}` : actor
    const place = id === 0 ? ({ type: 'provider', provider } as const) : parseKey(`${id}`)
    const deal: KnownDeal = { place, piece, provider, created, updated }
    // Earlier code wrote 0 for the unknown end of a provider without a place.
    if (endEpoch != null && !(id === 0 && endEpoch === 0)) deal.endEpoch = endEpoch
    if (terminated) deal.terminated = true
    if (seenEpoch != null) deal.seenEpoch = seenEpoch
    if (label != null) deal.label = label
    if (client != null) deal.client = client
    if (dataCid != null) deal.dataCid = dataCid
    if (activationEpoch != null) deal.activationEpoch = activationEpoch
    if (condition != null) deal.condition = condition
    if (provenEpoch != null) deal.provenEpoch = provenEpoch
    deals.set(identify(deal), deal)
  }
  return deals
}
