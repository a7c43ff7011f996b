import { recordId } from '@w3filecoin/runtime'

/**
 * An offer of a piece by a space: one row per space and workflow. It records the group that the space had when it made the
 * offer first. The group does not change when the provider of the space does.
 *
 * @example { owner: 'kD3…', workflow: 'pX0…', space: 'did:key:z6Mk…', group: 'did:web:example.com', offeredAt: 1767225600000 }
 */
export interface OfferRecord {
  /** @see {@link offerOwner} */
  owner: string
  /** The plain key of the piece's record: see `pieceId`. */
  workflow: string
  /** DID of the space. */
  space: string
  group: string
  /** Milliseconds since 1970. */
  offeredAt: number
}

/**
 * Returns the partition key of a space's offers of one piece. No other space can add rows to it.
 *
 * @example offerOwner('did:key:z6Mk…', 'bafkzci…') // 43 characters of base64url
 */
export const offerOwner = (space: string, piece: string): string => recordId(space, piece)
