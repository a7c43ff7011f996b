import type { Deal } from '@w3filecoin/capabilities'
import type { PieceV1 } from '@w3filecoin/piece'
import type { Stored } from '@w3filecoin/runtime'
import { timeOf } from './epoch.ts'

/** A deal as a source reports it. */
export interface ChainDeal {
  /** Id of the deal on chain. */
  id: number
  /** {@link pieceKey} of what it is for. */
  piece: string
  /** Actor id of the storage provider. */
  provider: number
  endEpoch: number
}

/** A deal as the tracker knows it from a source. */
export interface KnownDeal extends ChainDeal {
  /** The source stopped reporting it before its end. */
  terminated?: true
  /** When the tracker saw it first, and when it changed last, in milliseconds since 1970. */
  created: number
  updated: number
}

/** A deal of a source, as the table holds it. */
export interface DealRecord extends KnownDeal {
  /** Tells the deals of a piece apart: {@link dealKey}. */
  deal: string
}

/** The chain's name of a piece as a key. */
export const pieceKey = ({ root, log2Size }: { root: { toString(): string }; log2Size: number }): string =>
  `${root}/${log2Size}`

/** Sources do not overwrite one another: what one of them loses, another one may still see. */
export const dealKey = (source: string, { id }: Pick<ChainDeal, 'id'>): string => `${id}@${source}`

export const dealRecord = (source: string, deal: KnownDeal): DealRecord => ({
  ...deal,
  deal: dealKey(source, deal),
})

/** The record as a run of a source leaves it; nothing, if the record is of that run or of a later one. */
export const mergeChange = (
  record: Stored<DealRecord>,
  { created, ...change }: DealRecord,
): Stored<DealRecord> | undefined =>
  record.updated < change.updated
    ? { ...change, created: Math.min(record.created, created), revision: record.revision }
    : undefined

export const statusOf = (
  { terminated, endEpoch }: Pick<KnownDeal, 'terminated' | 'endEpoch'>,
  now: number,
): 'Active' | 'Expired' | 'Terminated' => {
  if (terminated) return 'Terminated'
  return timeOf(endEpoch) <= now ? 'Expired' : 'Active'
}

/** The deals of a piece as `deal/info` tells them. A deal that any source still sees is not lost. */
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
          status: statusOf(record, now),
          pieceCid: `${root}`,
          expiration: iso(timeOf(endEpoch)),
          created: iso(created),
          updated: iso(updated),
        },
      ]
    }),
  )
}

const isBetter = (a: KnownDeal, b: KnownDeal): boolean =>
  a.terminated === b.terminated ? a.updated > b.updated : !a.terminated

const iso = (time: number): string => new Date(time).toISOString()
