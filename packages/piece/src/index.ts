/**
 * Filecoin pieces: piece links of content, aggregates of pieces, and inclusion proofs. Every function computes its
 * result from its arguments: it does no I/O and keeps no state.
 *
 * Sizes are in bytes. *Padded* sizes count the two zero bits that Fr32 padding appends to every 254 bits: 128 for
 * 127 bytes of payload. A piece occupies its padded size in an aggregate, and an aggregate in a deal.
 */
export { type Aggregate, buildAggregate, type InvalidPiece, layout, recompute } from './aggregate.ts'
export { createHasher, type PieceHasher, pieceOf, pieceOfZeros } from './hash.ts'
export {
  type EncodedInclusion,
  type Inclusion,
  type InclusionPath,
  type InvalidInclusion,
  inclusionPaths,
  toInclusionProof,
  verifyInclusion,
} from './inclusion.ts'
export { capacityOf, indexEntries } from './limits.ts'
export {
  type AnyLink,
  contentSizeOf,
  decodePiece,
  encodePiece,
  FIL_COMMITMENT_UNSEALED,
  fromV1,
  type InvalidPieceCID,
  type LegacyPieceLink,
  type Piece,
  type PieceLink,
  type PieceV1,
  parsePiece,
  payloadSizeOf,
  toV1,
} from './link.ts'
export type { Result } from './result.ts'
export { canHold, Selection, type SelectionLimits, select } from './selection.ts'
export { hasher } from './sha256.ts'
export { joinPieces, layOut, type Stretch, type Whole } from './whole.ts'
