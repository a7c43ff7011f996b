/**
 * Filecoin pieces: links of content, and what becomes of them in aggregates. Everything here is computed from
 * its arguments; nothing is read, written or remembered.
 *
 * Sizes are in bytes. *Padded* ones count the two zero bits that Fr32 padding puts behind each 254: 128 for
 * 127 bytes of payload. They are what a piece takes of an aggregate, and an aggregate of a deal.
 */
export { type Aggregate, buildAggregate, type InvalidPiece, layout, recompute } from './aggregate.ts'
export { createHasher, type PieceHasher, pieceOf } from './hash.ts'
export {
  type EncodedInclusion,
  type Inclusion,
  type InvalidInclusion,
  toInclusionProof,
  verifyInclusion,
} from './inclusion.ts'
export { capacityOf, indexEntries } from './limits.ts'
export {
  type AnyLink,
  decodePiece,
  encodePiece,
  fromV1,
  type InvalidPieceCID,
  type LegacyPieceLink,
  type Piece,
  type PieceLink,
  type PieceV1,
  parsePiece,
  toV1,
} from './link.ts'
export type { Result } from './result.ts'
export { canHold, Selection, type SelectionLimits, select } from './selection.ts'
