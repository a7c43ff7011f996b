import type { PieceRecord } from './piece.ts'

/**
 * An aggregate that a piece is or was in, with the proof: one row per piece and aggregate, whatever the number of offers. It
 * is a pure function of piece and aggregate, so it may be written again.
 */
export interface InclusionRecord {
  /** Piece CID of the piece. */
  piece: string
  /**
   * Sorts the aggregates of a piece, the newest first: {@link LATEST} minus the time when the storefront first knew the
   * aggregate, with 14 digits, and the piece CID of the aggregate.
   *
   * @example '98232774400000-bafkzci…'
   */
  order: string
  /** Piece CID of the aggregate. */
  aggregate: string
  /** DAG-CBOR. */
  inclusion: Uint8Array
}

/** The latest time that an order can express, in milliseconds since 1970: in the year 5138. */
const LATEST = 99_999_999_999_999

export interface Membership {
  aggregate: string
  inclusion: Uint8Array
}

/** @param knownSince when the storefront recorded the aggregate, in milliseconds since 1970; 0 if that is not known */
export const newInclusion = (
  piece: string,
  { aggregate, inclusion }: Membership,
  knownSince: number,
): InclusionRecord => ({ ...inclusionKey(piece, aggregate, knownSince), aggregate, inclusion })

/** Returns the key of the aggregate of a piece. */
export const inclusionKey = (piece: string, aggregate: string, knownSince: number) => ({
  piece,
  order: `${`${LATEST - knownSince}`.padStart(14, '0')}-${aggregate}`,
})

/** The aggregates that a piece is or was in by its record, the newest first: each with its proof, or with the key of its row. */
export const membershipsOf = ({
  piece,
  aggregate,
  aggregateSince,
  inclusion,
  former = [],
}: Pick<PieceRecord, 'piece' | 'aggregate' | 'aggregateSince' | 'inclusion' | 'former'>): (
  | Membership
  | { aggregate: string; key: ReturnType<typeof inclusionKey> }
)[] => {
  const present = aggregate === undefined ? [] : [{ aggregate, since: aggregateSince, inclusion }]
  return [...present, ...former.toReversed()].map(({ aggregate, since = 0, inclusion }) =>
    inclusion === undefined
      ? { aggregate, key: inclusionKey(piece, aggregate, since) }
      : { aggregate, inclusion },
  )
}
