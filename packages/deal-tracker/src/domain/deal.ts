import {
  type Deal,
  epochToMs,
  type Place,
  type PlaceStatus,
  parsePlaceKey,
  toPlaceKey,
} from '@w3filecoin/capabilities'
import { fromV1, type PieceV1 } from '@w3filecoin/piece'
import type { Row, Stored } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'

/** A place, or only the provider of one: the source says that the provider has the piece, and not where. */
export type ChainPlace = Place | { type: 'provider'; provider: string }

/** A deal, or another place of a piece, as a source reports it. */
export interface ChainDeal {
  place: ChainPlace
  /** {@link toPieceKey} of the piece. */
  piece: string
  /** The storage provider, e.g. `f020378`, or `pdp:3` for the one with this id in the registry of PDP providers. */
  provider: string
  /** It is live before this epoch. Absent if it has no end, or the source does not know it. */
  endEpoch?: number
  /** Absent if it is live. A faulty one is live too. */
  condition?: 'pending' | 'faulty' | 'leaving'
  /** Epoch of its last proof, or of one up to a week earlier, if the source has it. */
  provenEpoch?: number
  /** Label of the deal, if the source has it. The name of an offer document means that the deal is for this offer. */
  label?: string
  /** The client of the deal, if the source has it, e.g. `f01131298`. */
  client?: string
  /** CID of the data in the piece, if the source has it, e.g. `bafybei…`: the root of its DAG. */
  dataCid?: string
  /** Epoch at which it became live, if the source has it; of a pending place, at which its first challenge was seen. */
  activationEpoch?: number
}

/** A deal with its history at one source. */
export interface KnownDeal extends ChainDeal {
  /** The source dropped the deal before its end. */
  terminated?: true
  /** Why it was dropped, in a sentence. Present together with `terminated`, except in records of earlier code. */
  reason?: string
  /** Time at which the tracker saw the deal first, in milliseconds since 1970. */
  created: number
  /** Epoch of the report that showed the deal first. Absent for deals that earlier code stored. */
  seenEpoch?: number
  /** Time of its last change, in milliseconds since 1970. */
  updated: number
}

/**
 * A deal of one source, as the table stores it. Its key is `piece` and `deal`.
 *
 * @example `{ piece: 'baga6ea4seaqao7s…/35', deal: '81234567@spade', place: { type: 'market', dealID: 81234567 },
 * provider: 'f020378', endEpoch: 6012345, label: 'bafkzci…/kD3wbPzc….json', created: 1733306400000, seenEpoch: 4500000,
 * updated: 1733306400000, run: 812 }`
 */
export interface DealRecord extends KnownDeal {
  /** {@link toDealKey}: distinguishes the deals of a piece, and the sources of a deal. */
  deal: string
  /**
   * The run that changed the deal last: the revision that this run gave to the source's record. It orders the writes of
   * runs, and times do not: a clock may be wrong. Absent in records of earlier code, whose runs are ordered by `updated`.
   */
  run?: number
}

/**
 * Returns the key of a piece: the root as piece CID v1, and the base-2 logarithm of the padded size in bytes. The
 * chain names pieces in this way.
 *
 * @example `baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq/35`
 */
export const toPieceKey = ({ root, log2Size }: { root: { toString(): string }; log2Size: number }): string =>
  `${root}/${log2Size}`

/**
 * Returns {@link toPieceKey} of a piece as the chain names it; `undefined` if it is not one.
 *
 * @param cid piece CID v1, e.g. `baga6ea4seaqao7s…`
 * @param log2Size base-2 logarithm of the padded size in bytes, e.g. 35
 */
export const parsePiece = (cid: string, log2Size: number): string | undefined => {
  try {
    const root = parseLink(cid)
    return fromV1(root, log2Size).ok && toPieceKey({ root, log2Size })
  } catch {
    return undefined
  }
}

/** Identifies a deal in the reports and snapshots of one source: its id, or the key of another place and the piece. */
export type DealIdentity = number | string

/**
 * Returns the identity of a deal at its source. A deal is for one piece, whichever the source names. A sector may have
 * several pieces.
 */
export const identify = ({ place, piece }: Pick<ChainDeal, 'place' | 'piece'>): DealIdentity =>
  place.type === 'market' ? place.dealID : `${keyOf(place)} ${piece}`

/** Returns the key of a place; of a provider without a place, its address. */
export const keyOf = (place: ChainPlace): string =>
  place.type === 'provider' ? place.provider : toPlaceKey(place)

/** Reverses {@link keyOf}. */
export const parseKey = (key: string): ChainPlace => parsePlaceKey(key) ?? { type: 'provider', provider: key }

/**
 * Returns the key of a deal at a source. Each source has its own record of a deal: if one source loses the deal, another
 * may still report it.
 *
 * @example toDealKey('spade', { type: 'market', dealID: 81234567 }) // '81234567@spade'
 * @example toDealKey('spade', { type: 'provider', provider: 'f020378' }) // 'f020378@spade'
 */
export const toDealKey = (source: string, place: ChainPlace): string => `${keyOf(place)}@${source}`

/** Returns the name of the source in a {@link toDealKey}: names of sources have no `@`. */
export const sourceOf = ({ deal }: Pick<DealRecord, 'deal'>): string => deal.slice(deal.lastIndexOf('@') + 1)

/** Builds the record of a deal of a source. */
export const toDealRecord = (source: string, deal: KnownDeal, run: number): DealRecord => ({
  ...deal,
  deal: toDealKey(source, deal.place),
  run,
})

/**
 * Applies a run's change to a record. Returns `undefined` if the record already has the change of this run or of a later
 * one.
 */
export const mergeChange = (
  record: Stored<DealRecord>,
  change: DealRecord,
): Stored<DealRecord> | undefined => {
  const later = (change.run ?? 0) - (record.run ?? 0) || change.updated - record.updated
  if (later <= 0) return undefined
  const { seenEpoch: _, ...changed } = change
  const { created, seenEpoch } = record.created <= change.created ? record : change
  return {
    ...changed,
    created,
    ...(seenEpoch === undefined ? {} : { seenEpoch }),
    revision: record.revision,
  }
}

/** A later proof alone is a change only after so many epochs, a week: each change costs a write for each piece. */
const PROOF_GRAIN = 20_160

const isSameProof = (a: number | undefined, b: number | undefined): boolean =>
  a === undefined || b === undefined ? a === b : Math.abs(a - b) < PROOF_GRAIN

/** Whether two reports of a deal agree. */
export const isSameDeal = (a: ChainDeal, b: ChainDeal): boolean =>
  keyOf(a.place) === keyOf(b.place) &&
  a.piece === b.piece &&
  a.provider === b.provider &&
  a.endEpoch === b.endEpoch &&
  a.condition === b.condition &&
  isSameProof(a.provenEpoch, b.provenEpoch) &&
  a.label === b.label &&
  a.client === b.client &&
  a.dataCid === b.dataCid &&
  a.activationEpoch === b.activationEpoch

/** Whether a place has no end, or the source does not know it. Such a place lasts until the source drops it. */
export const isEndless = ({ endEpoch }: Pick<ChainDeal, 'endEpoch'>): boolean => endEpoch === undefined

/** Whether a deal is past its end at an epoch. */
export const hasEnded = ({ endEpoch }: Pick<ChainDeal, 'endEpoch'>, epoch: number): boolean =>
  endEpoch !== undefined && endEpoch <= epoch

/** Returns the status of a deal. `Terminated` takes precedence over `Expired`, and `Expired` over others. */
export const toStatus = (
  { terminated, endEpoch, condition }: Pick<KnownDeal, 'terminated' | 'endEpoch' | 'condition'>,
  now: number,
): PlaceStatus['status'] => {
  if (terminated) return 'Terminated'
  if (endEpoch !== undefined && epochToMs(endEpoch) <= now) return 'Expired'
  switch (condition) {
    case 'pending':
      return 'Pending'
    case 'leaving':
      return 'Leaving'
    case 'faulty':
    case undefined:
      return 'Active'
    default:
      return condition satisfies never
  }
}

/** The sources that the tracker reads, each with the epoch of its last good run, if it had one. */
export type ReadSources = ReadonlyMap<string, number | undefined>

/** The records of one place, of all sources. */
interface Reports {
  /** Sorted: the first one decides on the state of the place. */
  all: readonly [DealRecord, ...DealRecord[]]
  /** The one that was seen first: it determines when the place was created. */
  first: DealRecord
}

/**
 * Combines the records of each place. If several sources report a place, one that still lists it wins over one that lost it; after
 * that, the record updated last wins. A source that the tracker does not read any more cannot lose a place: its records
 * show the history of places, and how they ended, but not that one is still there.
 */
const combine = (records: readonly DealRecord[], sources: ReadSources, now: number): [string, Reports][] =>
  [...Map.groupBy(records, ({ place }) => keyOf(place))].flatMap(([key, group]): [string, Reports][] => {
    const isRead = (record: DealRecord): boolean => sources.has(sourceOf(record))
    const all = group.toSorted(
      (a, b) =>
        Number(isRead(b)) - Number(isRead(a)) ||
        Number(a.terminated ?? false) - Number(b.terminated ?? false) ||
        b.updated - a.updated,
    ) as [DealRecord, ...DealRecord[]]
    const [best] = all
    const first = all.reduce((a, b) => (b.created < a.created ? b : a))
    const hasEnd = ['Terminated', 'Expired'].includes(toStatus(best, now))
    return isRead(best) || hasEnd ? [[key, { all, first }]] : []
  })

/**
 * Returns the deals of a piece, by id, as `deal/info` reports them, see {@link combine}. A source without one of the optional
 * fields leaves it to the others.
 */
export const toDeals = (
  records: readonly DealRecord[],
  { root }: Pick<PieceV1, 'root'>,
  now: number,
  sources: ReadSources,
): Record<string, Deal> => {
  const deals = records.filter(({ place }) => place.type === 'market')
  return Object.fromEntries(
    combine(deals, sources, now).map(([id, { all, first }]): [string, Deal] => {
      const [best] = all
      const label = all.find(({ label }) => label !== undefined)?.label
      const client = all.find(({ client }) => client !== undefined)?.client
      const dataCid = all.find(({ dataCid }) => dataCid !== undefined)?.dataCid
      const activationEpoch = all.find(
        ({ activationEpoch }) => activationEpoch !== undefined,
      )?.activationEpoch
      const { provider, endEpoch = 0, reason } = best
      const status = toStatus(best, now)
      const created = toIso(first.created)
      return [
        id,
        {
          provider,
          storageProvider: provider,
          status,
          ...(status === 'Terminated' && reason !== undefined && { reason }),
          pieceCid: `${root}`,
          ...(dataCid === undefined ? {} : { dataCid }),
          ...(activationEpoch === undefined ? {} : { activation: toIso(epochToMs(activationEpoch)) }),
          ...(label === undefined ? {} : { label }),
          ...(client === undefined ? {} : { client }),
          expiration: toIso(epochToMs(endEpoch)),
          created,
          updated: toIso(best.updated),
          ...(first.seenEpoch === undefined ? {} : { seen: { at: created, epoch: first.seenEpoch } }),
        },
      ]
    }),
  )
}

/** Returns the places of a piece other than deals, as `deal/info` reports them, see {@link combine}. */
export const toPlaces = (
  records: readonly DealRecord[],
  { root }: Pick<PieceV1, 'root'>,
  now: number,
  sources: ReadSources,
): PlaceStatus[] => {
  // Earlier code stored a place as the deal 0 of its source, whose next run stored it as a place.
  const places = records.filter(({ place, deal }) => place.type !== 'market' && !deal.startsWith('0@'))
  return combine(places, sources, now).map(([key, { all, first }]): PlaceStatus => {
    const [best] = all
    const { place, provider, endEpoch, condition, activationEpoch, provenEpoch, reason } = best
    const status = toStatus(best, now)
    const epoch = sources.get(sourceOf(best))
    // A run whose changes are not all written may have added it after the last good run.
    const isSeen = epoch !== undefined && (best.seenEpoch ?? 0) <= epoch
    return {
      type: place.type as PlaceStatus['type'],
      key,
      provider,
      status,
      ...(status === 'Active' && condition === 'faulty' && { faulty: true as const }),
      ...(status === 'Terminated' && { ended: toIso(best.updated), ...(reason !== undefined && { reason }) }),
      pieceCid: `${root}`,
      ...(activationEpoch !== undefined && { since: toIso(epochToMs(activationEpoch)) }),
      ...(provenEpoch !== undefined && { lastProof: toIso(epochToMs(provenEpoch)) }),
      ...(endEpoch !== undefined && { expiration: toIso(epochToMs(endEpoch)) }),
      ...(isSeen && { epoch }),
      ...(first.seenEpoch !== undefined && { seen: { at: toIso(first.created), epoch: first.seenEpoch } }),
    }
  })
}

/**
 * Returns a row in the present form. Earlier code stored the id of a deal, or 0 for a provider without a place, and the number
 * of the provider. The end 0 of such a place was unknown.
 *
 * @example `{ deal: '81234567@spade', id: 81234567, provider: 20378, endEpoch: 6012345, … }` becomes
 * `{ deal: '81234567@spade', place: { type: 'market', dealID: 81234567 }, provider: 'f020378', endEpoch: 6012345, … }`
 */
export const upgradeDeal = (row: Row): Row => {
  if (row.place !== undefined) return row
  const { id, provider: actor, endEpoch, ...rest } = row
  const provider = `f0${actor}`
  return {
    ...rest,
    place: id === 0 ? { type: 'provider', provider } : { type: 'market', dealID: id },
    provider,
    ...(!(id === 0 && endEpoch === 0) && { endEpoch }),
  }
}

const toIso = (ms: number): string => new Date(ms).toISOString()
