import type { Deal } from '@w3filecoin/capabilities'
import type { PieceV1 } from '@w3filecoin/piece'
import type { Stored } from '@w3filecoin/runtime'
import { epochToMs } from './epoch.ts'

/** A deal as a source reports it. */
export interface ChainDeal {
  /** Id of the deal in the built-in market. */
  id: number
  /** {@link toPieceKey} of the piece in the deal. */
  piece: string
  /** Actor id of the storage provider, e.g. 20378 for `f020378`. */
  provider: number
  /** The deal is live before this epoch. */
  endEpoch: number
}

/** A deal with its history at one source. */
export interface KnownDeal extends ChainDeal {
  /** The source dropped the deal before its end. */
  terminated?: true
  /** Time at which the tracker saw the deal first, in milliseconds since 1970. */
  created: number
  /** Time of its last change, in milliseconds since 1970. */
  updated: number
}

/**
 * A deal of one source, as the table stores it. Its key is `piece` and `deal`.
 *
 * @example `{ piece: 'baga6ea4seaqao7s…/35', deal: '81234567@spade', id: 81234567, provider: 20378, endEpoch: 6012345,
 * created: 1733306400000, updated: 1733306400000 }`
 */
export interface DealRecord extends KnownDeal {
  /** {@link toDealKey}: distinguishes the deals of a piece, and the sources of a deal. */
  deal: string
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
 * Returns the key of a deal at a source. Each source has its own record of a deal: if one source loses the deal, another
 * may still report it.
 *
 * @example toDealKey('spade', { id: 81234567 }) // '81234567@spade'
 */
export const toDealKey = (source: string, { id }: Pick<ChainDeal, 'id'>): string => `${id}@${source}`

/** Builds the record of a deal of a source. */
export const toDealRecord = (source: string, deal: KnownDeal): DealRecord => ({
  ...deal,
  deal: toDealKey(source, deal),
})

/**
 * Applies a run's change to a record. Returns `undefined` if the record already has the change of this run or of a later
 * one.
 */
export const mergeChange = (
  record: Stored<DealRecord>,
  { created, ...change }: DealRecord,
): Stored<DealRecord> | undefined =>
  record.updated < change.updated
    ? { ...change, created: Math.min(record.created, created), revision: record.revision }
    : undefined

/** Whether two reports of a deal agree. */
export const isSameDeal = (a: ChainDeal, b: ChainDeal): boolean =>
  a.id === b.id && a.piece === b.piece && a.provider === b.provider && a.endEpoch === b.endEpoch

/** Returns the status of a deal. `Terminated` takes precedence over `Expired`. */
export const toStatus = (
  { terminated, endEpoch }: Pick<KnownDeal, 'terminated' | 'endEpoch'>,
  now: number,
): 'Active' | 'Expired' | 'Terminated' => {
  if (terminated) return 'Terminated'
  return epochToMs(endEpoch) <= now ? 'Expired' : 'Active'
}

/**
 * Returns the deals of a piece, by id, as `deal/info` reports them. If several sources report the same deal, one that still
 * lists it wins over one that lost it; after that, the record updated last wins.
 */
export const toDeals = (
  records: readonly KnownDeal[],
  { root }: Pick<PieceV1, 'root'>,
  now: number,
): Record<string, Deal> => {
  const best = new Map<number, KnownDeal>()
  for (const record of records) {
    const other = best.get(record.id)
    if (other === undefined || isBetter(record, other)) best.set(record.id, record)
  }
  return Object.fromEntries(
    [...best.values()].map((record): [string, Deal] => {
      const { id, provider, endEpoch, created, updated } = record
      const storageProvider = `f0${provider}`
      return [
        `${id}`,
        {
          provider: storageProvider,
          storageProvider,
          status: toStatus(record, now),
          pieceCid: `${root}`,
          expiration: toIso(epochToMs(endEpoch)),
          created: toIso(created),
          updated: toIso(updated),
        },
      ]
    }),
  )
}

const isBetter = (a: KnownDeal, b: KnownDeal): boolean =>
  a.terminated === b.terminated ? a.updated > b.updated : !a.terminated

const toIso = (ms: number): string => new Date(ms).toISOString()
