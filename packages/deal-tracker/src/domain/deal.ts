import { type Deal, epochToMs, type Place } from '@w3filecoin/capabilities'
import type { PieceV1 } from '@w3filecoin/piece'
import type { Stored } from '@w3filecoin/runtime'

/**
 * A deal as a source reports it. A deal with the id 0 is not in the built-in market: it is a place, which says that the
 * piece is on chain at this provider.
 */
export interface ChainDeal {
  /** Id of the deal in the built-in market. 0 for a place. */
  id: number
  /** {@link toPieceKey} of the piece in the deal. */
  piece: string
  /** Actor id of the storage provider, e.g. 20378 for `f020378`. */
  provider: number
  /** The deal is live before this epoch. 0 for a place whose end the source does not know. */
  endEpoch: number
  /** Label of the deal, if the source has it. The name of an offer document means that the deal is for this offer. */
  label?: string
  /** The client of the deal, if the source has it, e.g. `f01131298`. */
  client?: string
  /** CID of the data in the piece, if the source has it, e.g. `bafybei…`: the root of its DAG. */
  dataCid?: string
  /** Epoch at which the deal became active, if the source has it. */
  activationEpoch?: number
}

/** A deal with its history at one source. */
export interface KnownDeal extends ChainDeal {
  /** The source dropped the deal before its end. */
  terminated?: true
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
 * @example `{ piece: 'baga6ea4seaqao7s…/35', deal: '81234567@spade', id: 81234567, provider: 20378, endEpoch: 6012345,
 * label: 'bafkzci…/kD3wbPzc….json', created: 1733306400000, seenEpoch: 4500000, updated: 1733306400000, run: 812 }`
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

/** Identifies a deal in the reports and snapshots of one source: its id, or the piece and the provider of a place. */
export type DealIdentity = number | string

/** Returns the identity of a deal at its source. */
export const identify = ({ id, piece, provider }: ChainDeal): DealIdentity =>
  id === 0 ? `${piece} ${provider}` : id

/**
 * Returns the key of a deal at a source. Each source has its own record of a deal: if one source loses the deal, another
 * may still report it. A place has its provider instead of an id.
 *
 * @example toDealKey('spade', { id: 81234567, provider: 20378 }) // '81234567@spade'
 * @example toDealKey('spade', { id: 0, provider: 20378 }) // 'f020378@spade'
 */
export const toDealKey = (source: string, { id, provider }: Pick<ChainDeal, 'id' | 'provider'>): string =>
  `${id === 0 ? toAddress(provider) : id}@${source}`

/** Builds the record of a deal of a source. */
export const toDealRecord = (source: string, deal: KnownDeal, run: number): DealRecord => ({
  ...deal,
  deal: toDealKey(source, deal),
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

/** Whether two reports of a deal agree. */
export const isSameDeal = (a: ChainDeal, b: ChainDeal): boolean =>
  a.id === b.id &&
  a.piece === b.piece &&
  a.provider === b.provider &&
  a.endEpoch === b.endEpoch &&
  a.label === b.label &&
  a.client === b.client &&
  a.dataCid === b.dataCid &&
  a.activationEpoch === b.activationEpoch

/** Whether the source does not know the end of a place. Such a place lasts until the source drops it. */
export const isEndless = ({ id, endEpoch }: Pick<ChainDeal, 'id' | 'endEpoch'>): boolean =>
  id === 0 && endEpoch === 0

/** Whether a deal is past its end at an epoch. */
export const hasEnded = (deal: Pick<ChainDeal, 'id' | 'endEpoch'>, epoch: number): boolean =>
  deal.endEpoch <= epoch && !isEndless(deal)

/** Returns the status of a deal. `Terminated` takes precedence over `Expired`. */
export const toStatus = (
  deal: Pick<KnownDeal, 'id' | 'terminated' | 'endEpoch'>,
  now: number,
): 'Active' | 'Expired' | 'Terminated' => {
  if (deal.terminated) return 'Terminated'
  return epochToMs(deal.endEpoch) <= now && !isEndless(deal) ? 'Expired' : 'Active'
}

/**
 * Returns the deals of a piece, by id, as `deal/info` reports them. If several sources report the same deal, one that still
 * lists it wins over one that lost it; after that, the record updated last wins. The first source that saw the deal
 * determines when it was created, and a source without one of the optional fields leaves it to the others.
 */
export const toDeals = (
  records: readonly DealRecord[],
  { root }: Pick<PieceV1, 'root'>,
  now: number,
): Record<string, Deal> => {
  const deals = Map.groupBy(
    records.filter(({ id }) => id !== 0),
    ({ id }) => id,
  )
  return Object.fromEntries(
    [...deals].map(([id, sources]): [string, Deal] => {
      const [best] = sources.sort(compare) as [DealRecord]
      const first = sources.reduce((a, b) => (b.created < a.created ? b : a))
      const label = sources.find(({ label }) => label !== undefined)?.label
      const client = sources.find(({ client }) => client !== undefined)?.client
      const dataCid = sources.find(({ dataCid }) => dataCid !== undefined)?.dataCid
      const activationEpoch = sources.find(
        ({ activationEpoch }) => activationEpoch !== undefined,
      )?.activationEpoch
      const provider = toAddress(best.provider)
      const created = toIso(first.created)
      return [
        `${id}`,
        {
          provider,
          storageProvider: provider,
          status: toStatus(best, now),
          pieceCid: `${root}`,
          ...(dataCid === undefined ? {} : { dataCid }),
          ...(activationEpoch === undefined ? {} : { activation: toIso(epochToMs(activationEpoch)) }),
          ...(label === undefined ? {} : { label }),
          ...(client === undefined ? {} : { client }),
          expiration: toIso(epochToMs(best.endEpoch)),
          created,
          updated: toIso(best.updated),
          ...(first.seenEpoch === undefined ? {} : { seen: { at: created, epoch: first.seenEpoch } }),
        },
      ]
    }),
  )
}

/**
 * Returns the places of a piece, one for each provider, as `deal/info` reports them. Sources are combined as in
 * {@link toDeals}.
 *
 * Earlier code stored places as a deal with the key `0@SOURCE`. They are skipped: the source's next run stores them under
 * the key of a place.
 */
export const toPlaces = (
  records: readonly DealRecord[],
  { root }: Pick<PieceV1, 'root'>,
  now: number,
): Place[] => {
  const places = Map.groupBy(
    records.filter(({ id, deal }) => id === 0 && !deal.startsWith('0@')),
    ({ provider }) => provider,
  )
  return [...places].map(([provider, sources]) => {
    const [best] = sources.sort(compare) as [DealRecord]
    return {
      provider: toAddress(provider),
      status: toStatus(best, now),
      ...(isEndless(best) ? {} : { expiration: toIso(epochToMs(best.endEpoch)) }),
      pieceCid: `${root}`,
    }
  })
}

/** Sorts the records of a deal: those of sources that still list it first, then the one updated last. */
const compare = (a: KnownDeal, b: KnownDeal): number =>
  Number(a.terminated ?? false) - Number(b.terminated ?? false) || b.updated - a.updated

const toAddress = (provider: number): string => `f0${provider}`

const toIso = (ms: number): string => new Date(ms).toISOString()
